-- Lengths in characters and words. The row without kind and producer is over all captions.
WITH lengths AS (
    SELECT kind, producer, 'characters' AS unit, chars AS length FROM captions
    UNION ALL SELECT kind, producer, 'words', words FROM captions
)
SELECT unit, kind, producer, count(*) AS captions, round(avg(length), 1)::DOUBLE AS mean,
    min(length) AS shortest, quantile_disc(length, 0.05) AS p5, quantile_disc(length, 0.5) AS median,
    quantile_disc(length, 0.95) AS p95, max(length) AS longest
FROM lengths
GROUP BY GROUPING SETS ((unit, kind, producer), (unit))
ORDER BY unit, grouping(kind) DESC, captions DESC, kind, producer
