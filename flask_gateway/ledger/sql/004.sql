-- Alerts of budgets: each once for a window and a share. posted: 0 not yet, 1 yes, 2 given up.

BEGIN IMMEDIATE;
CREATE TABLE alert (
    subject TEXT NOT NULL,
    window TEXT NOT NULL,
    start INTEGER NOT NULL,
    share REAL NOT NULL,
    at INTEGER NOT NULL,
    used INTEGER NOT NULL,
    amount INTEGER NOT NULL,
    posted INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (subject, window, start, share)
) WITHOUT ROWID;
PRAGMA user_version = 4;
COMMIT;
