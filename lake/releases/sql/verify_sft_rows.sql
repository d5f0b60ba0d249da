-- The rows of a release of conversations: position, where the row came from, its hash as stored, and as it is now.
SELECT i.position, coalesce(c.origin, i.conversation_id, 'no conversation'), i.row_sha256,
       coalesce(sha256('[' || coalesce('"' || i.image_id || '"', 'null') || ',' || to_json(i.split)::VARCHAR || ','
                       || replace(c.record::VARCHAR, '"conversations":null', '"conversations":' || c.turns::VARCHAR) || ']'), 'gone')
FROM lake.release_items i
LEFT JOIN lake.conversations c USING (conversation_id)
WHERE i.name = $name AND i.version = $version
ORDER BY i.position
