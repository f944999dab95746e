-- Sums by day: what hours become when they are old. And the moment up to which old rows have been deleted.

BEGIN IMMEDIATE;
CREATE TABLE day (
    day INTEGER NOT NULL,
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
    PRIMARY KEY (day, key, team, model, upstream, source)
) WITHOUT ROWID;
ALTER TABLE pruned ADD COLUMN reached INTEGER NOT NULL DEFAULT 0;
PRAGMA user_version = 3;
COMMIT;
