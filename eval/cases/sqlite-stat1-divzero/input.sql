CREATE TABLE fruit(name TEXT, count INT, price INT);
CREATE INDEX by_name ON fruit(name, count);
INSERT INTO fruit VALUES ('apple', 3, 10), ('pear', 5, 12), ('plum', 8, 7);
ANALYZE;
DELETE FROM sqlite_stat1;
INSERT INTO sqlite_stat1 VALUES ('fruit', 'by_name', '3 1 1 sz=0');
INSERT INTO sqlite_stat1 VALUES ('fruit', NULL, '3 sz=0');
ANALYZE sqlite_master;
SELECT price FROM fruit WHERE name = 'pear' AND price > 5;
