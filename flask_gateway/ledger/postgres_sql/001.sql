-- The tables of the ledger of several machines, as in ../sql. Money is in nano-dollars, moments are epoch seconds.

CREATE TABLE charge (
    at BIGINT NOT NULL,
    journal BIGINT NOT NULL,
    "offset" BIGINT NOT NULL,
    id TEXT NOT NULL,
    leg INTEGER NOT NULL,
    key TEXT NOT NULL,
    team TEXT NOT NULL,
    "user" TEXT NOT NULL,
    model TEXT NOT NULL,
    upstream TEXT NOT NULL,
    upstream_model TEXT NOT NULL,
    source TEXT NOT NULL,
    status INTEGER NOT NULL,
    input BIGINT NOT NULL,
    cached BIGINT NOT NULL,
    output BIGINT NOT NULL,
    units TEXT NOT NULL,
    rates TEXT NOT NULL,
    cost BIGINT,
    PRIMARY KEY (at, journal, "offset")
);
CREATE INDEX charge_id ON charge (id);

CREATE TABLE bucket (
    hour BIGINT NOT NULL,
    key TEXT NOT NULL,
    team TEXT NOT NULL,
    model TEXT NOT NULL,
    upstream TEXT NOT NULL,
    source TEXT NOT NULL,
    calls BIGINT NOT NULL,
    legs BIGINT NOT NULL,
    unpriced BIGINT NOT NULL,
    input BIGINT NOT NULL,
    cached BIGINT NOT NULL,
    output BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    PRIMARY KEY (hour, key, team, model, upstream, source)
);
CREATE TABLE day (
    day BIGINT NOT NULL,
    key TEXT NOT NULL,
    team TEXT NOT NULL,
    model TEXT NOT NULL,
    upstream TEXT NOT NULL,
    source TEXT NOT NULL,
    calls BIGINT NOT NULL,
    legs BIGINT NOT NULL,
    unpriced BIGINT NOT NULL,
    input BIGINT NOT NULL,
    cached BIGINT NOT NULL,
    output BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    PRIMARY KEY (day, key, team, model, upstream, source)
);
CREATE TABLE tag_day (
    day BIGINT NOT NULL,
    tag TEXT NOT NULL,
    value TEXT NOT NULL,
    calls BIGINT NOT NULL,
    input BIGINT NOT NULL,
    output BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    PRIMARY KEY (day, tag, value)
);
CREATE TABLE user_day (
    day BIGINT NOT NULL,
    owner TEXT NOT NULL,
    "user" TEXT NOT NULL,
    calls BIGINT NOT NULL,
    input BIGINT NOT NULL,
    output BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    PRIMARY KEY (day, owner, "user")
);

-- Updated by every turn of every machine. Room on each page keeps those updates out of the index.
CREATE TABLE balance (
    subject TEXT COLLATE "C" NOT NULL,
    "window" TEXT NOT NULL,
    start BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    calls BIGINT NOT NULL,
    PRIMARY KEY (subject, "window", start)
) WITH (fillfactor = 70);

-- The journals of all machines: their names are random.
CREATE TABLE journal (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    place BIGINT NOT NULL,
    damaged BIGINT NOT NULL
) WITH (fillfactor = 70);
CREATE TABLE in_flight (
    worker TEXT NOT NULL,
    n BIGINT NOT NULL,
    line BYTEA NOT NULL,
    PRIMARY KEY (worker, n)
);
CREATE TABLE pruned (charges INTEGER NOT NULL, reached BIGINT NOT NULL DEFAULT 0);
INSERT INTO pruned (charges) VALUES (0);
CREATE TABLE alert (
    subject TEXT NOT NULL,
    "window" TEXT NOT NULL,
    start BIGINT NOT NULL,
    share DOUBLE PRECISION NOT NULL,
    at BIGINT NOT NULL,
    used BIGINT NOT NULL,
    amount BIGINT NOT NULL,
    posted INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (subject, "window", start, share)
);
