-- Lengths of captions in characters, words and sentences; deciles from the first to the ninth.
WITH counted AS (
    SELECT producer, chars, counted.words, sentences
    FROM captions JOIN caption_words AS counted USING (caption_id)
    WHERE parser = $parser AND producer IN ($producers)
), lengths AS (
    SELECT producer, 'characters' AS unit, chars AS length FROM counted
    UNION ALL SELECT producer, 'words', words FROM counted
    UNION ALL SELECT producer, 'sentences', sentences FROM counted
)
SELECT producer, unit, round(avg(length), 1)::DOUBLE AS mean, quantile_cont(length, 0.5)::DOUBLE AS median,
    min(length) AS shortest, quantile_disc(length, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]) AS deciles, max(length) AS longest
FROM lengths
GROUP BY ALL
ORDER BY producer, unit
