-- Every row of images at the pinned snapshot with what decides about it. Parameters: seed; producer of captions or NULL; included and
-- excluded, lists of NAME@VERSION. The tables that conditions and orders may read are pinned under their own names, so that they see
-- the same snapshot; nothing is joined where they are evaluated, so that their columns are those of images.
-- The seed's order of rows is that of the hash of their key, which stands behind any other order.
WITH
$pinned,
released AS (SELECT source, source_key, image_id, concat(name, '@', version) AS label FROM $items),
included AS (
    SELECT source, source_key, min(label) AS included FROM released WHERE list_contains($included::VARCHAR[], label) GROUP BY ALL
),
excluded AS (
    SELECT image_id, min(label) AS excluded FROM released WHERE list_contains($excluded::VARCHAR[], label) GROUP BY ALL
),
captioned AS (
    SELECT source, source_key FROM captions WHERE producer = $producer AND source IS NOT NULL
    UNION
    SELECT images.source, images.source_key FROM images JOIN captions USING (image_id)
    WHERE captions.producer = $producer AND captions.source IS NULL
),
shown AS (
    SELECT image_id, min(concat(item, ' of ', benchmark)) AS benchmark_item FROM contamination GROUP BY image_id
),
judged AS (
    SELECT
        source, source_key, image_id, collection, subset, width::BIGINT * height AS pixels,
        $row_passes AS passes,
        $quota_passes AS quota_passes,
        $quota_place AS quota,
        $leaf_place AS leaf,
        $draw_place AS draw
    FROM images
)
SELECT
    judged.source, judged.source_key, judged.image_id, collection, subset, pixels, passes, quota_passes, quota, leaf, draw,
    benchmark_item, included, excluded,
    excluded IS NOT NULL AND EXISTS (
        SELECT 1 FROM released WHERE list_contains($excluded::VARCHAR[], label)
        AND released.source = judged.source AND released.source_key = judged.source_key
    ) AS in_excluded,
    $producer::VARCHAR IS NULL OR EXISTS (
        SELECT 1 FROM captioned WHERE captioned.source = judged.source AND captioned.source_key = judged.source_key
    ) AS captioned
FROM judged
LEFT JOIN shown ON shown.image_id = judged.image_id
LEFT JOIN included ON included.source = judged.source AND included.source_key = judged.source_key
LEFT JOIN excluded ON excluded.image_id = judged.image_id
