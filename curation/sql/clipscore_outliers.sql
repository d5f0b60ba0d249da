-- Captions whose score lies more than $z robust standard deviations below the median of their producer, collection and model; with several
-- models, the worst of them tells.
WITH placed AS (
    SELECT image_id, arg_min(collection, (source, source_key)) AS collection FROM lake.images GROUP BY image_id
), scored AS (
    SELECT made.caption_id, made.producer, scores.model_id, scores.score,
           coalesce(own.collection, placed.collection) AS collection, $whose AS asked
    FROM lake.caption_scores scores
    JOIN lake.captions made USING (caption_id)
    LEFT JOIN lake.images own ON own.source = made.source AND own.source_key = made.source_key
    LEFT JOIN placed ON placed.image_id = made.image_id
), middles AS (
    SELECT producer, collection, model_id, median(score) AS middle, mad(score) AS spread, count(*) AS n
    FROM scored GROUP BY ALL
), placed_scores AS (
    SELECT *, 0.6745 * (score - middle) / spread AS z
    FROM scored JOIN middles USING (producer, collection, model_id)
    WHERE asked AND spread > 0 AND n >= $fewest
)
SELECT caption_id, arg_min(printf('%.3f, %.1f below the median %.3f of %s in %s', score, -z, middle, producer, collection), z) AS detail
FROM placed_scores
WHERE z < -CAST($z AS DOUBLE)
GROUP BY caption_id
ORDER BY caption_id
