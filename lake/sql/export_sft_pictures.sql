-- Of some rows of a release of conversations: their hashes and ids, and where their pictures lie, what rows of images they are and what may
-- be done with them, in the order of the row's paths; a NULL for each that the lake did not have. One source that lets its pictures be passed on is enough.
WITH items AS (
    SELECT r.position, r.split, r.row_sha256, r.image_id, c.image_ids, c.conversation_id, c.origin, c.caption_id
    FROM lake.release_items r JOIN lake.conversations c AT (VERSION => :snapshot) USING (conversation_id)
    WHERE r.name = $name AND r.version = $version AND r.position BETWEEN $first AND $last
),
wanted AS (
    SELECT position, unnest(image_ids) AS image_id, generate_subscripts(image_ids, 1) AS number FROM items
),
places AS (
    SELECT image_id, bool_or(coalesce(s.redistribute = 'bytes', false)) AS allowed,
           min({'shard': i.shard, 'row': i."row", 'offset': i."offset", 'n_bytes': i.n_bytes, 'format': i.format}) AS place,
           list({'image_id': i.image_id, 'source': i.source, 'source_key': i.source_key, 'collection': i.collection, 'subset': i.subset,
                 'url': CASE WHEN s.redistribute <> 'none' THEN i.url END, 'license': i.license, 'author': i.author,
                 'redistribute': coalesce(s.redistribute, 'none')} ORDER BY i.source, i.source_key) AS sources
    FROM lake.images i AT (VERSION => :snapshot) LEFT JOIN lake.sources s ON s.source = i.source
    WHERE image_id IN (SELECT image_id FROM wanted) GROUP BY image_id
)
SELECT i.position, i.split, i.row_sha256, i.image_id, i.conversation_id, i.origin, i.caption_id,
       coalesce(list(CASE WHEN p.place IS NOT NULL THEN {'image_id': p.image_id, 'allowed': p.allowed, 'place': p.place, 'sources': p.sources} END ORDER BY w.number)
                FILTER (w.number IS NOT NULL), []) AS pictures
FROM items i LEFT JOIN wanted w USING (position) LEFT JOIN places p ON p.image_id = w.image_id
GROUP BY ALL
