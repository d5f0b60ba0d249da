-- Where the pictures of some rows of a release lie, and what may be passed on of them.
SELECT r.position, i.image_id, i.source, i.source_key, i.url, i.license, i.author, i.format, i.shard, i."row", i."offset", i.n_bytes,
       coalesce(s.redistribute, 'none') AS redistribute
FROM lake.release_items r
JOIN lake.images i AT (VERSION => :snapshot) USING (source, source_key)
LEFT JOIN lake.sources s ON s.source = i.source
WHERE r.name = $name AND r.version = $version AND r.position BETWEEN $first AND $last
