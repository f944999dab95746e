-- Of a copy of the keys in PostgreSQL: the generation of changes that it has.

BEGIN IMMEDIATE;
CREATE TABLE copied (generation INTEGER);
INSERT INTO copied (generation) VALUES (NULL);
PRAGMA user_version = 2;
COMMIT;
