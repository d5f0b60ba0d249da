-- The items of a release of conversations: view _chosen (position, conversation_id) with the first picture of each, where the lake
-- has it, the split and the hash of the row. One row of images stands for a picture that has several. :split goes by ``key``.
CREATE OR REPLACE TEMP TABLE sft_items AS
WITH pictures AS (
    SELECT image_id, min({'source': source, 'source_key': source_key}) AS first
    FROM images AT (VERSION => :snapshot) GROUP BY image_id
), found AS (
    SELECT chosen.position, p.first.source AS source, p.first.source_key AS source_key, p.image_id, chosen.conversation_id,
           replace(c.record::VARCHAR, '"conversations":null', '"conversations":' || c.turns::VARCHAR) AS record
    FROM _chosen chosen
    LEFT JOIN conversations c AT (VERSION => :snapshot) USING (conversation_id)
    LEFT JOIN pictures p ON p.image_id = c.image_ids[1]
), placed AS (
    SELECT * EXCLUDE (key), :split AS split FROM (SELECT *, coalesce(image_id, record, '') AS key FROM found)
)
SELECT * EXCLUDE (record),
       sha256('[' || coalesce('"' || image_id || '"', 'null') || ',' || to_json(split)::VARCHAR || ',' || record || ']') AS row_sha256
FROM placed
