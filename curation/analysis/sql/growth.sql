-- Vocabulary: different words among the first so many, the captions in an order that is as good as drawn by lot (the MD5 of their
-- texts). Heaps' law, types = factor * tokens ^ exponent, is fitted by least squares of the logarithms over the points given here:
-- ten to a power of ten, over the last two. Words are those of distinct_n.
WITH texts AS (
    SELECT producer, md5("text") AS lot, regexp_extract_all(lower("text"), '[\p{L}\p{N}]+(?:[''’-][\p{L}\p{N}]+)*') AS words
    FROM captions
    WHERE producer IN ($producers) AND "text" IS NOT NULL
), placed AS (
    SELECT producer, words, sum(len(words)) OVER (PARTITION BY producer ORDER BY lot ROWS UNBOUNDED PRECEDING) - len(words) AS earlier
    FROM texts
), tokens AS (
    SELECT producer, unnest(words) AS word, earlier + unnest(range(1, len(words) + 1)) AS place FROM placed
), types AS (
    SELECT producer, min(place) AS first_place FROM tokens GROUP BY producer, word
), points AS (
    SELECT DISTINCT producer, greatest(1, round(total * pow(10, -step / 10)))::BIGINT AS tokens
    FROM (SELECT producer, sum(len(words)) AS total FROM texts GROUP BY producer HAVING total > 0), range(0, 21) AS steps(step)
), growth AS (
    SELECT producer, tokens, count(*) AS types
    FROM points JOIN types USING (producer)
    WHERE first_place <= tokens
    GROUP BY ALL
)
SELECT producer, tokens, types, round(regr_slope(ln(types), ln(tokens)) OVER whole, 4) AS exponent,
    round(exp(regr_intercept(ln(types), ln(tokens)) OVER whole), 3) AS factor, round(regr_r2(ln(types), ln(tokens)) OVER whole, 4) AS r2
FROM growth
WINDOW whole AS (PARTITION BY producer)
ORDER BY producer, tokens
