-- The rows of one split of a release, where their pictures lie and what may be passed on of them; one result row a caption.
SELECT r.position, i.image_id, i.source, i.source_key, i.collection, i.subset, i.url, i.license, i.author, i.width, i.height,
       i.format, r.row_sha256, coalesce(s.redistribute, 'none') AS redistribute, i.shard, i."row", i."offset", i.n_bytes,
       c.text, rc.role, c.producer, c.license AS caption_license
FROM lake.release_items r
JOIN lake.images i AT (VERSION => :snapshot) USING (source, source_key)
LEFT JOIN lake.sources s ON s.source = i.source
LEFT JOIN lake.release_captions rc ON rc.name = r.name AND rc.version = r.version AND rc.position = r.position
LEFT JOIN lake.captions c AT (VERSION => :snapshot) USING (caption_id)
WHERE r.name = $name AND r.version = $version AND r.split = $split
ORDER BY r.position, rc.ordinal
