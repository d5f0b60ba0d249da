-- Turns by who speaks, and their lengths in characters.
WITH spoken AS (SELECT unnest(from_json(turns, '[{"from": "VARCHAR", "value": "VARCHAR"}]')) AS turn FROM conversations)
SELECT turn."from" AS speaker, count(*) AS turns, round(avg(length(turn."value")), 1)::DOUBLE AS mean,
    quantile_disc(length(turn."value"), 0.5) AS median, quantile_disc(length(turn."value"), 0.95) AS p95, max(length(turn."value")) AS longest
FROM spoken
GROUP BY ALL
ORDER BY turns DESC, speaker
