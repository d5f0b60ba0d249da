-- The rows of a release of images as it saw them, with all their texts, one result row a text, and where the pictures lie. In any order.
-- Joins are made as written, the right side in memory: never the texts.
SELECT m.* EXCLUDE (caption_id), c.text
FROM lake.captions c AT (VERSION => :snapshot)
RIGHT JOIN (
    SELECT n.*, coalesce(rc.ordinal, 0) AS ordinal, rc.role, rc.caption_id
    FROM (SELECT position, ordinal, role, caption_id FROM lake.release_captions WHERE name = $name AND version = $version) rc
    RIGHT JOIN (
        SELECT r.*, i.shard, i."row", i."offset", i.n_bytes
        FROM lake.images i AT (VERSION => :snapshot)
        RIGHT JOIN (
            SELECT position, split, row_sha256, source, source_key, image_id
            FROM lake.release_items WHERE name = $name AND version = $version
        ) r ON i.source = r.source AND i.source_key = r.source_key AND i.image_id = r.image_id
    ) n ON rc.position = n.position
) m ON c.caption_id = m.caption_id
