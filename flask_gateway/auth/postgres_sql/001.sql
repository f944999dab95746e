-- The tables of the issued keys of several machines, as in ../sql. Moments are epoch seconds.

CREATE TABLE key (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT,
    owner TEXT NOT NULL,
    team TEXT NOT NULL,
    tags TEXT NOT NULL,
    note TEXT NOT NULL,
    models TEXT NOT NULL,
    limits TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('active', 'disabled', 'revoked')),
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    version BIGINT NOT NULL
);
CREATE UNIQUE INDEX key_name ON key (name) WHERE state != 'revoked';
CREATE INDEX key_team ON key (team, number);

CREATE TABLE secret (
    digest BYTEA PRIMARY KEY,
    key BIGINT NOT NULL REFERENCES key (number),
    hint TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    ends_at BIGINT
);
CREATE INDEX secret_key ON secret (key);

CREATE TABLE team (
    name TEXT PRIMARY KEY,
    note TEXT NOT NULL,
    limits TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL
);

-- Changes are numbered in the order of their commits: each transaction holds a lock.
CREATE TABLE change (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key BIGINT NOT NULL,
    ends_streams INTEGER NOT NULL
);

CREATE TABLE audit (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at BIGINT NOT NULL,
    admin TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    before TEXT NOT NULL,
    after TEXT NOT NULL,
    request TEXT NOT NULL,
    address TEXT NOT NULL
);

CREATE TABLE idempotency (
    admin TEXT NOT NULL,
    token TEXT NOT NULL,
    at BIGINT NOT NULL,
    request BYTEA NOT NULL,
    answer TEXT NOT NULL,
    PRIMARY KEY (admin, token)
);
CREATE INDEX idempotency_at ON idempotency (at);
