-- Root verbs and the nouns that are their objects: the pairs of one per cent or more of a producer's, at most 60 of them, where
-- `captionlake analyze` parsed its captions.
WITH found AS (
    SELECT parser, producer, unnest(pairs) AS pair FROM captions JOIN caption_words USING (caption_id)
),
counted AS (SELECT parser, producer, pair, count(*) AS sentences FROM found GROUP BY ALL),
shared AS (SELECT *, 100 * sentences / sum(sentences) OVER (PARTITION BY parser, producer) AS share FROM counted)
SELECT parser, producer, split_part(pair, ' ', 1) AS verb, split_part(pair, ' ', 2) AS noun, sentences,
    round(share, 4)::DOUBLE AS share_percent
FROM shared
WHERE share >= 1
QUALIFY row_number() OVER (PARTITION BY parser, producer ORDER BY sentences DESC, pair) <= 60
ORDER BY parser, producer, sentences DESC, pair
