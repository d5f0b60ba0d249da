-- The rows of a release of conversations, each with a comma and a line feed. Those made of captions come first, for they stand apart in
-- the lake: the others then come nearly in order. Joins are made as written, the right side in memory.
SELECT i.position, 0 AS ordinal, c.image_paths[1] AS path, :record AS record
FROM lake.conversations c AT (VERSION => :snapshot) JOIN lake.release_items i USING (conversation_id)
WHERE i.name = $name AND i.version = $version AND c.caption_id IS NOT NULL
UNION ALL
SELECT i.position, 0 AS ordinal, c.image_paths[1] AS path, :record AS record
FROM lake.conversations c AT (VERSION => :snapshot) JOIN lake.release_items i USING (conversation_id)
WHERE i.name = $name AND i.version = $version AND c.caption_id IS NULL
