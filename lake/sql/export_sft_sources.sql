-- What the lake says of the sources that the pictures of a release of conversations come from.
SELECT DISTINCT ON (source, collection) s.*
FROM lake.sources s
WHERE s.source IN (
    SELECT i.source FROM lake.images i AT (VERSION => :snapshot)
    WHERE i.image_id IN (
        SELECT unnest(c.image_ids) FROM lake.conversations c AT (VERSION => :snapshot)
        SEMI JOIN (SELECT conversation_id FROM lake.release_items WHERE name = $name AND version = $version) r USING (conversation_id)
    )
)
ORDER BY s.source, s.collection
