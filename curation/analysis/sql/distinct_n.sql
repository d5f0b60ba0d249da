-- Distinct-1, -2 and -3: of the runs of n words within captions, how many are different, over all of the producer's captions. It
-- falls as captions get more: compare like numbers of them. Words are letters and digits in lower case, joined by - or '.
WITH texts AS (
    SELECT producer, regexp_extract_all(lower("text"), '[\p{L}\p{N}]+(?:[''’-][\p{L}\p{N}]+)*') AS words
    FROM captions
    WHERE producer IN ($producers) AND "text" IS NOT NULL
), runs AS (
    SELECT producer, 1 AS n, unnest(list_transform(words, lambda word: hash(word))) AS run FROM texts
    UNION ALL
    SELECT producer, 2, unnest(list_transform(range(1, len(words)), lambda i: hash(words[i], words[i + 1]))) FROM texts
    UNION ALL
    SELECT producer, 3, unnest(list_transform(range(1, len(words) - 1), lambda i: hash(words[i], words[i + 1], words[i + 2]))) FROM texts
)
SELECT producer, n, count(*) AS runs, count(DISTINCT run) AS different, round(count(DISTINCT run) / count(*), 4) AS distinct_n
FROM runs
GROUP BY producer, n
ORDER BY producer, n
