SELECT word, count(*) AS k, sum(n) FROM item GROUP BY word ORDER BY k DESC, word LIMIT 5;
SELECT a.word, count(*) FROM item a JOIN item b ON a.word = b.word AND a.id < b.id GROUP BY a.word ORDER BY 2 DESC, 1 LIMIT 5;
SELECT sum(n) FROM item WHERE word LIKE '%7%' AND x > 1000.5;
SELECT count(*) FROM (SELECT id, sum(n) OVER (ORDER BY id ROWS 5 PRECEDING) AS s FROM item) WHERE s % 3 = 0;
