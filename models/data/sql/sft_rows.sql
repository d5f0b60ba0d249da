-- The rows of a release of conversations as it saw them, and where their pictures lie: a NULL for each that the lake did not have. In any
-- order. Joins are made as written, the right side in memory: never the texts.
WITH items AS (
    SELECT position, split, row_sha256, image_id, conversation_id FROM lake.release_items WHERE name = $name AND version = $version
),
wanted AS (
    SELECT position, unnest(image_ids) AS image_id, generate_subscripts(image_ids, 1) AS number
    FROM lake.conversations AT (VERSION => :snapshot) JOIN items USING (conversation_id)
),
places AS (
    SELECT image_id, min({'shard': shard, 'row': "row", 'offset': "offset", 'n_bytes': n_bytes}) AS place
    FROM lake.images AT (VERSION => :snapshot) SEMI JOIN wanted USING (image_id) GROUP BY image_id
),
pictures AS (
    SELECT w.position,
           list(CASE WHEN place IS NOT NULL THEN struct_insert({'image_id': p.image_id}, shard := place.shard, "row" := place."row",
                                                               "offset" := place."offset", n_bytes := place.n_bytes) END
                ORDER BY number) AS pictures
    FROM wanted w LEFT JOIN places p ON p.image_id = w.image_id
    GROUP BY w.position
)
SELECT m.position, m.split, m.row_sha256, m.image_id, m.pictures,
       replace(c.record::VARCHAR, '"conversations":null', '"conversations":' || c.turns::VARCHAR) AS record,
       list_sum(list_transform(json_extract_string(c.turns, '$[*].value'), lambda v: length(v)))::BIGINT AS chars
FROM lake.conversations c AT (VERSION => :snapshot)
RIGHT JOIN (
    SELECT i.*, coalesce(p.pictures, []) AS pictures FROM pictures p RIGHT JOIN items i ON p.position = i.position
) m ON c.conversation_id = m.conversation_id
