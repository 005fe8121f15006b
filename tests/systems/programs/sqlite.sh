# SPDX-License-Identifier: MIT
# A database in memory and one in a file, with joins, windows, text search and arithmetic.
cat >script.sql <<'SQL'
SELECT sqlite_version();
CREATE TABLE item(id INTEGER PRIMARY KEY, word TEXT, n INTEGER, x REAL);
WITH RECURSIVE c(i, s) AS (VALUES(1, 12345) UNION ALL SELECT i + 1, (s * 1103515245 + 12345) % 2147483648 FROM c WHERE i < 20000)
INSERT INTO item SELECT i, 'w' || (s % 503), s % 10007, s / 7.0 FROM c;
CREATE INDEX item_word ON item(word);
SELECT count(*), sum(n), printf('%.12g', avg(x)), min(word), max(word) FROM item;
SELECT word, count(*) AS k, sum(n) FROM item GROUP BY word ORDER BY k DESC, word LIMIT 5;
SELECT a.word, count(*) FROM item a JOIN item b ON a.word = b.word AND a.id < b.id AND b.n % 97 = 3 GROUP BY a.word ORDER BY 2 DESC, 1 LIMIT 5;
SELECT id, n, sum(n) OVER (ORDER BY id ROWS 5 PRECEDING), rank() OVER (ORDER BY n DESC) FROM item ORDER BY id LIMIT 5;
SELECT printf('%.15g %.15g %.15g', sin(1.25), exp(2.5), pow(3.1, 4.2)), round(2.675, 2), 1e308 * 10, 7 / 2, 7 % -3, -7 >> 1;
UPDATE item SET n = n + length(word) WHERE id % 3 = 0;
DELETE FROM item WHERE word LIKE 'w1%';
SELECT count(*), sum(n), hex(substr(word, 1, 3)), upper(word), instr(word, '4') FROM item;
SELECT group_concat(word, ',') FROM (SELECT DISTINCT word FROM item WHERE word GLOB 'w4[0-9]' ORDER BY word);
SELECT json_extract('{"a":[1,2,{"b":"c"}]}', '$.a[2].b'), json_group_array(n) FROM item WHERE id < 20;
CREATE VIRTUAL TABLE doc USING fts5(body);
INSERT INTO doc SELECT group_concat(word, ' ') FROM item GROUP BY id / 50;
SELECT count(*) FROM doc WHERE doc MATCH 'w42 AND w7*';
VACUUM;
PRAGMA integrity_check;
SQL
sqlite3 -batch :memory: <script.sql
sqlite3 -batch file.db <script.sql | sha256sum
sqlite3 -batch file.db .dump | sha256sum
