-- Rows of a conversation file in one range, as rows of conversations. A picture that the lake lacks, or that several of different
-- bytes could be, is NULL in its place. $listed: glob of the staged rows; released_found: which picture each path means.
CREATE OR REPLACE TEMP TABLE listed_conversations AS
WITH listed AS (
    SELECT * FROM read_parquet($listed) WHERE "row" BETWEEN $first AND $last
), paths AS (
    SELECT conversation_id, unnest(image_paths) AS path, generate_subscripts(image_paths, 1) AS place FROM listed
), pictures AS (
    SELECT p.conversation_id, list(f.image_id ORDER BY p.place) AS image_ids
    FROM paths p LEFT JOIN released_found f ON f.image = p.path AND f.n = 1
    GROUP BY ALL
)
SELECT l.conversation_id, coalesce(p.image_ids, []) AS image_ids, l.turns::JSON AS turns, l.origin, NULL::VARCHAR AS caption_id,
       l.image_paths, l.record::JSON AS record
FROM listed l LEFT JOIN pictures p USING (conversation_id)
ORDER BY l."row"
