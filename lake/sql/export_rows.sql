-- The rows of one split of a release, where their pictures lie and what may be passed on of them; one result row a caption. Joins are made
-- as written, the right side in memory.
SELECT m.*, c."text", c.kind, c.producer, c.producer_revision, c.prompt_id, c.prompt_sha256, c.params::VARCHAR AS params,
       c.license AS caption_license, c.created_at, c.source IS NOT NULL AS from_source
FROM lake.captions c AT (VERSION => :snapshot)
RIGHT JOIN (
    SELECT n.*, coalesce(rc.ordinal, 0) AS ordinal, rc.caption_id, rc.role
    FROM (SELECT position, ordinal, caption_id, role FROM lake.release_captions WHERE name = $name AND version = $version) rc
    RIGHT JOIN (
        SELECT r.position, i.image_id, i.source, i.source_key, i.collection, i.subset, i.url, i.license, i.author, i.width, i.height,
               i.format, r.row_sha256, coalesce(s.redistribute, 'none') AS redistribute, i.shard, i."row", i."offset", i.n_bytes
        FROM lake.images i AT (VERSION => :snapshot)
        JOIN (SELECT position, source, source_key, row_sha256 FROM lake.release_items
              WHERE name = $name AND version = $version AND split = $split) r USING (source, source_key)
        LEFT JOIN lake.sources s ON s.source = i.source
    ) n ON rc.position = n.position
) m ON c.caption_id = m.caption_id
