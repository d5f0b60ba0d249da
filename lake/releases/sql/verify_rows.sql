-- The rows of a release with the texts that their hashes are over, one result row a text.
SELECT i.position, i.source, i.source_key, i.image_id, i.split, i.row_sha256, rc.role, c.text
FROM lake.release_items i
LEFT JOIN lake.release_captions rc ON rc.name = i.name AND rc.version = i.version AND rc.position = i.position
LEFT JOIN lake.captions c USING (caption_id)
WHERE i.name = $name AND i.version = $version
ORDER BY i.position, rc.ordinal
