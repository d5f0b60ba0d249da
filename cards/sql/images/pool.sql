-- What the lake held when the release was made, and what became of it.
WITH taken AS (SELECT collection, count(*) AS taken FROM items GROUP BY ALL),
pool AS (SELECT collection, count(*) AS in_lake FROM images GROUP BY ALL)
SELECT collection, in_lake, coalesce(taken, 0) AS taken, in_lake - coalesce(taken, 0) AS left_out
FROM pool LEFT JOIN taken USING (collection)
ORDER BY collection
