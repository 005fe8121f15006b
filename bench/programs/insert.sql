PRAGMA synchronous=OFF;
CREATE TABLE item(id INTEGER PRIMARY KEY, word TEXT, n INTEGER, x REAL);
CREATE INDEX item_word ON item(word);
WITH RECURSIVE c(i, s) AS (VALUES(1, 12345) UNION ALL SELECT i + 1, (s * 1103515245 + 12345) % 2147483648 FROM c WHERE i < @N@ * 1000)
INSERT INTO item SELECT i, 'w' || (s % 5003), s % 10007, s / 7.0 FROM c;
SELECT count(*), sum(n), min(word), max(word) FROM item;
