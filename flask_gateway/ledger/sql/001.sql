-- The tables of the ledger. Money is in nano-dollars, moments are epoch seconds.

BEGIN IMMEDIATE;

-- Every charge: one row per settled leg. (journal, offset) is where its line ended, so no line makes two rows.
CREATE TABLE charge (
    at INTEGER NOT NULL,
    journal INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    id TEXT NOT NULL,
    leg INTEGER NOT NULL,
    key TEXT NOT NULL,
    team TEXT NOT NULL,
    user TEXT NOT NULL,
    model TEXT NOT NULL,
    upstream TEXT NOT NULL,
    upstream_model TEXT NOT NULL,
    source TEXT NOT NULL,
    status INTEGER NOT NULL,
    input INTEGER NOT NULL,
    cached INTEGER NOT NULL,
    output INTEGER NOT NULL,
    units TEXT NOT NULL,       -- the other units, JSON; empty if there are none
    rates TEXT NOT NULL,
    cost INTEGER,              -- NULL: the price is unknown
    PRIMARY KEY (at, journal, offset)
) WITHOUT ROWID;
CREATE INDEX charge_id ON charge (id);

-- Sums by hour of the report's time zone.
CREATE TABLE bucket (
    hour INTEGER NOT NULL,
    key TEXT NOT NULL,
    team TEXT NOT NULL,
    model TEXT NOT NULL,
    upstream TEXT NOT NULL,
    source TEXT NOT NULL,
    calls INTEGER NOT NULL,
    legs INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    input INTEGER NOT NULL,
    cached INTEGER NOT NULL,
    output INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    PRIMARY KEY (hour, key, team, model, upstream, source)
) WITHOUT ROWID;

-- The same by day, for tags and for end users.
CREATE TABLE tag_day (
    day INTEGER NOT NULL,
    tag TEXT NOT NULL,
    value TEXT NOT NULL,
    calls INTEGER NOT NULL,
    input INTEGER NOT NULL,
    output INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    PRIMARY KEY (day, tag, value)
) WITHOUT ROWID;
CREATE TABLE user_day (
    day INTEGER NOT NULL,
    owner TEXT NOT NULL,
    user TEXT NOT NULL,
    calls INTEGER NOT NULL,
    input INTEGER NOT NULL,
    output INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    PRIMARY KEY (day, owner, user)
) WITHOUT ROWID;

-- What each subject has used in each window: what accounts open with.
CREATE TABLE balance (
    subject TEXT NOT NULL,
    window TEXT NOT NULL,      -- day, week, month, total
    start INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    PRIMARY KEY (subject, window, start)
) WITHOUT ROWID;

-- Journals, and the place up to which each has been read.
CREATE TABLE journal (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    place INTEGER NOT NULL,
    damaged INTEGER NOT NULL
);

-- Calls that were admitted and are not settled: the line that opened each.
CREATE TABLE in_flight (
    worker TEXT NOT NULL,
    n INTEGER NOT NULL,
    line BLOB NOT NULL,
    PRIMARY KEY (worker, n)
) WITHOUT ROWID;

PRAGMA user_version = 1;
COMMIT;
