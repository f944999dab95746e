-- Whether old charges have been deleted, so that sums can no longer be computed from them.

BEGIN IMMEDIATE;
CREATE TABLE pruned (charges INTEGER NOT NULL);
INSERT INTO pruned (charges) VALUES (0);
PRAGMA user_version = 2;
COMMIT;
