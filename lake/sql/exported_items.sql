-- Items of a release of conversations (_items: position, conversation_id, image_id, split, row_sha256), each with the row of images that
-- stands for its picture, as sft_items.sql chooses it.
WITH pictures AS (
    SELECT image_id, min({'source': source, 'source_key': source_key}) AS first
    FROM images AT (VERSION => :snapshot) SEMI JOIN _items USING (image_id) GROUP BY image_id
)
SELECT i.position, p.first.source AS source, p.first.source_key AS source_key, i.image_id, i.conversation_id, i.split, i.row_sha256
FROM _items i LEFT JOIN pictures p USING (image_id)
ORDER BY i.position
