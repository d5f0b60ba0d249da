-- Every row of images at the pinned snapshot with what decides about it. Parameters: seed, producer of captions or NULL.
-- The tables that a condition may read are pinned under their own names, so that it sees the same snapshot.
WITH
$pinned,
given AS (SELECT ?::BIGINT AS seed, ?::VARCHAR AS producer),
judged AS (
    SELECT
        source, source_key, image_id, collection, subset, width::BIGINT * height AS pixels,
        coalesce(CAST((
$where
        ) AS BOOLEAN), false) AS passes,
        sha256(concat((SELECT seed FROM given), ':', strlen(source), ':', source, ':', source_key)) AS ticket
    FROM images
),
captioned AS (
    SELECT source, source_key FROM captions
    WHERE producer = (SELECT producer FROM given) AND source IS NOT NULL
    UNION
    SELECT images.source, images.source_key FROM images JOIN captions USING (image_id)
    WHERE captions.producer = (SELECT producer FROM given) AND captions.source IS NULL
),
shown AS (
    SELECT image_id, min(concat(item, ' of ', benchmark)) AS benchmark_item FROM contamination GROUP BY image_id
)
SELECT
    source, source_key, judged.image_id, collection, subset, pixels, passes, benchmark_item,
    row_number() OVER (ORDER BY ticket, source, source_key) AS draw,
    (SELECT producer FROM given) IS NULL OR EXISTS (
        SELECT 1 FROM captioned WHERE captioned.source = judged.source AND captioned.source_key = judged.source_key
    ) AS captioned
FROM judged LEFT JOIN shown ON shown.image_id = judged.image_id
