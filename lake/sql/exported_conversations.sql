-- Rows of an export (_rows) as rows of conversations; a picture that the lake lacks is NULL in its place.
CREATE OR REPLACE TEMP TABLE exported_conversations AS
WITH wanted AS (
    SELECT conversation_id, unnest(picture_ids) AS image_id, generate_subscripts(picture_ids, 1) AS place FROM _rows
), there AS (
    SELECT DISTINCT image_id FROM images SEMI JOIN wanted USING (image_id)
), pictures AS (
    SELECT w.conversation_id, list(t.image_id ORDER BY w.place) AS image_ids
    FROM wanted w LEFT JOIN there t ON t.image_id = w.image_id
    GROUP BY ALL
)
SELECT r.conversation_id, coalesce(p.image_ids, []) AS image_ids, r.turns::JSON AS turns, r.origin, r.caption_id, r.image_paths,
       r.record::JSON AS record
FROM _rows r LEFT JOIN pictures p USING (conversation_id)
