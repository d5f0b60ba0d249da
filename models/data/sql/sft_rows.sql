-- The rows of a release of conversations as it saw them, and where their pictures lie: a NULL for each that the lake did not have. In any order.
WITH items AS (
    SELECT r.position, r.split, r.row_sha256, r.image_id, c.turns, c.image_ids,
           replace(c.record::VARCHAR, '"conversations":null', '"conversations":' || c.turns::VARCHAR) AS record
    FROM lake.release_items r
    LEFT JOIN lake.conversations c AT (VERSION => :snapshot) USING (conversation_id)
    WHERE r.name = $name AND r.version = $version
),
places AS (
    SELECT image_id, min({'shard': shard, 'row': "row", 'offset': "offset", 'n_bytes': n_bytes}) AS place
    FROM lake.images AT (VERSION => :snapshot) GROUP BY image_id
),
pictures AS (
    SELECT position, list(CASE WHEN place IS NOT NULL THEN struct_insert({'image_id': image_id}, shard := place.shard, "row" := place."row",
                                                                        "offset" := place."offset", n_bytes := place.n_bytes) END
                          ORDER BY number) AS pictures
    FROM (SELECT position, unnest(image_ids) AS image_id, generate_subscripts(image_ids, 1) AS number FROM items)
    LEFT JOIN places USING (image_id)
    GROUP BY position
)
SELECT i.position, i.split, i.row_sha256, i.image_id, i.record, coalesce(p.pictures, []) AS pictures,
       list_sum(list_transform(json_extract_string(i.turns, '$[*].value'), lambda v: length(v)))::BIGINT AS chars
FROM items i LEFT JOIN pictures p USING (position)
