-- Root verbs and their nouns: in how many sentences, and in how many per cent of the producer's sentences that have a pair.
WITH found AS (
    SELECT producer, unnest(pairs) AS pair
    FROM captions JOIN caption_words USING (caption_id)
    WHERE parser = $parser AND producer IN ($producers)
)
SELECT producer, split_part(pair, ' ', 1) AS verb, split_part(pair, ' ', 2) AS noun, count(*) AS sentences,
    100 * count(*) / sum(count(*)) OVER (PARTITION BY producer) AS share
FROM found
GROUP BY producer, pair
ORDER BY producer, sentences DESC, pair
