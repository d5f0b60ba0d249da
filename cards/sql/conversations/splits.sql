-- The splits, as the loader names them.
SELECT split, count(*) AS items FROM conversations GROUP BY split ORDER BY split = 'train' DESC, split
