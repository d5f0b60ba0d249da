-- Captions by length in characters. One width of bin for all, from the 99th per cent; what is longer is in the last bin.
WITH tail AS (SELECT quantile_disc(chars, 0.99) AS long FROM captions),
bins AS (
    SELECT CASE WHEN long <= 100 THEN 5 WHEN long <= 200 THEN 10 WHEN long <= 500 THEN 25 WHEN long <= 1000 THEN 50
        WHEN long <= 2000 THEN 100 WHEN long <= 5000 THEN 250 ELSE 1000 END AS width, long
    FROM tail
)
SELECT kind, producer, (least(chars, long) // width * width)::BIGINT AS from_chars, width AS bin_width, count(*) AS captions
FROM captions, bins
GROUP BY ALL
ORDER BY kind, producer, from_chars
