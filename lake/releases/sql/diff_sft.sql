-- As diff_images.sql, of releases of conversations. A row is known by what it says (its hash; the n-th of those alike), and where its
-- split or its picture has changed, by its conversation. ``collection`` is the part of the mix that it is of.
CREATE OR REPLACE TEMP TABLE release_diff AS
WITH a AS (
    SELECT *, row_number() OVER (PARTITION BY row_sha256 ORDER BY "position") AS nth FROM lake.release_items
    WHERE name = $a.name AND version = $a.version AND conversation_id IS NOT NULL
), b AS (
    SELECT *, row_number() OVER (PARTITION BY row_sha256 ORDER BY "position") AS nth FROM lake.release_items
    WHERE name = $b.name AND version = $b.version AND conversation_id IS NOT NULL
), same AS (
    SELECT a."position" AS a_position, b."position" AS b_position FROM a JOIN b USING (row_sha256, nth)
), others AS (
    SELECT coalesce(one.conversation_id, other.conversation_id) AS conversation_id,
           one."position" AS a_position, other."position" AS b_position
    FROM (SELECT * FROM a ANTI JOIN same ON same.a_position = a."position") one
    FULL JOIN (SELECT * FROM b ANTI JOIN same ON same.b_position = b."position") other ON other.conversation_id = one.conversation_id
), met AS (
    SELECT a_position, b_position, 'unchanged' AS outcome FROM same
    UNION ALL
    SELECT a_position, b_position,
           CASE WHEN a_position IS NULL THEN 'added' WHEN b_position IS NULL THEN 'removed' ELSE 'changed' END
    FROM others
), parts AS (
    SELECT conversation_id, :part AS part FROM lake.conversations
)
SELECT coalesce(b.source, a.source) AS source, coalesce(b.source_key, a.source_key) AS source_key, met.a_position, met.b_position,
       coalesce(b.image_id, a.image_id) AS image_id, a.image_id IS DISTINCT FROM b.image_id AS other_picture,
       a.split AS a_split, b.split AS b_split, met.outcome, coalesce(parts.part, '(unknown)') AS collection,
       NULL::VARCHAR AS reason, NULL::VARCHAR AS detail, coalesce(b.conversation_id, a.conversation_id) AS conversation_id
FROM met
LEFT JOIN a ON a."position" = met.a_position
LEFT JOIN b ON b."position" = met.b_position
LEFT JOIN parts ON parts.conversation_id = coalesce(b.conversation_id, a.conversation_id)
