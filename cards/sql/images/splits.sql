-- The splits, as the loader names them.
SELECT split, count(*) AS items FROM items GROUP BY split ORDER BY split = 'train' DESC, split
