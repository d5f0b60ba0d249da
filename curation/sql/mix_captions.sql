-- The captions of a release by one producer, the first of each picture, in the order in which the seed draws them.
SELECT c.caption_id, c."text", c.image_id, c.source, c.source_key, c.license, i.collection, i.path
FROM (
    SELECT position, source, source_key, collection, :path AS path
    FROM (SELECT position, source, source_key FROM lake.release_items WHERE name = $name AND version = $version)
    JOIN lake.images AT (VERSION => :snapshot) USING (source, source_key)
) i
JOIN (
    SELECT rc.position, c.* FROM lake.release_captions rc JOIN lake.captions c AT (VERSION => :snapshot) USING (caption_id)
    WHERE rc.name = $name AND rc.version = $version AND c.producer = $producer
    QUALIFY row_number() OVER (PARTITION BY rc.position ORDER BY rc.ordinal) = 1
) c USING (position)
ORDER BY sha256(concat_ws(':', $seed::VARCHAR, i.source, i.source_key))
