-- The rows of a release of images as it saw them, with all their texts, one result row a text, and where the pictures lie. In any order.
SELECT r.position, coalesce(rc.ordinal, 0) AS ordinal, r.split, r.row_sha256, r.source, r.source_key, r.image_id, rc.role, c.text,
       i.shard, i."row", i."offset", i.n_bytes
FROM lake.release_items r
LEFT JOIN lake.images i AT (VERSION => :snapshot)
       ON i.source = r.source AND i.source_key = r.source_key AND i.image_id = r.image_id
LEFT JOIN lake.release_captions rc ON rc.name = r.name AND rc.version = r.version AND rc.position = r.position
LEFT JOIN lake.captions c AT (VERSION => :snapshot) ON c.caption_id = rc.caption_id
WHERE r.name = $name AND r.version = $version
