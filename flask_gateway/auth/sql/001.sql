-- The tables of issued keys. Moments are epoch seconds.

BEGIN IMMEDIATE;

CREATE TABLE key (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT,
    owner TEXT NOT NULL,
    team TEXT NOT NULL,                -- empty: none
    tags TEXT NOT NULL,                -- JSON
    note TEXT NOT NULL,
    models TEXT NOT NULL,              -- JSON; null: every model
    limits TEXT NOT NULL,              -- JSON, as [keys.X] has them
    state TEXT NOT NULL CHECK (state IN ('active', 'disabled', 'revoked')),
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    version INTEGER NOT NULL
);
-- A revoked key gives its name free.
CREATE UNIQUE INDEX key_name ON key (name) WHERE state != 'revoked';
CREATE INDEX key_team ON key (team, number);
CREATE INDEX key_owner ON key (owner, number);

-- What opens the gateway: SHA-256 digests, never keys. A rotation adds one.
CREATE TABLE secret (
    digest BLOB PRIMARY KEY,
    key INTEGER NOT NULL REFERENCES key (number),
    hint TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    ends_at INTEGER
) WITHOUT ROWID;
CREATE INDEX secret_key ON secret (key);

CREATE TABLE team (
    name TEXT PRIMARY KEY,
    note TEXT NOT NULL,
    limits TEXT NOT NULL,              -- JSON, as [teams.X] has them
    created_at INTEGER NOT NULL,
    version INTEGER NOT NULL
) WITHOUT ROWID;

-- Every change, in order, for the workers to follow. key 0: the teams.
CREATE TABLE change (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    key INTEGER NOT NULL,
    ends_streams INTEGER NOT NULL
);

CREATE TABLE audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    admin TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    before TEXT NOT NULL,              -- JSON; null: it was not there
    after TEXT NOT NULL,
    request TEXT NOT NULL,
    address TEXT NOT NULL
);

-- Answers to requests with an Idempotency-Key, without the secret.
CREATE TABLE idempotency (
    admin TEXT NOT NULL,
    token TEXT NOT NULL,
    at INTEGER NOT NULL,
    request BLOB NOT NULL,             -- a digest of the request
    answer TEXT NOT NULL,
    PRIMARY KEY (admin, token)
) WITHOUT ROWID;
CREATE INDEX idempotency_at ON idempotency (at);

PRAGMA user_version = 1;
COMMIT;
