-- What became of each row of two releases of images, $a and $b: added, removed, recaptioned, changed (split or picture) or unchanged.
-- Rows of pictures that were taken down have no key and are left out. :a and :b are the snapshots that they pin.
CREATE OR REPLACE TEMP TABLE release_diff AS
WITH a AS (
    SELECT source, source_key, "position", image_id, split, row_sha256 FROM lake.release_items
    WHERE name = $a.name AND version = $a.version AND source IS NOT NULL
), b AS (
    SELECT source, source_key, "position", image_id, split, row_sha256 FROM lake.release_items
    WHERE name = $b.name AND version = $b.version AND source IS NOT NULL
), met AS (
    SELECT source, source_key, a."position" AS a_position, b."position" AS b_position, coalesce(b.image_id, a.image_id) AS image_id,
           a.image_id IS DISTINCT FROM b.image_id AS other_picture, a.split AS a_split, b.split AS b_split,
           CASE WHEN a."position" IS NULL THEN 'added' WHEN b."position" IS NULL THEN 'removed'
                WHEN a.row_sha256 = b.row_sha256 THEN 'unchanged'
                WHEN a.image_id = b.image_id AND a.split = b.split THEN 'recaptioned' ELSE 'changed' END AS outcome
    FROM a FULL JOIN b USING (source, source_key)
), sides AS (  -- rows whose texts must be looked at: their hash differs, and so does more than the texts
    SELECT a_position AS place, $a.name AS name, $a.version AS version, a_position AS "position", 'a' AS side FROM met WHERE outcome = 'changed'
    UNION ALL
    SELECT a_position, $b.name, $b.version, b_position, 'b' FROM met WHERE outcome = 'changed'
), named AS (
    SELECT s.place, s.side, list([rc.role, rc.caption_id] ORDER BY rc.ordinal) AS said
    FROM sides s JOIN lake.release_captions rc USING (name, version, "position") GROUP BY ALL
), renamed AS (  -- other captions, which may have the same texts
    SELECT place FROM (FROM named WHERE side = 'a') one FULL JOIN (FROM named WHERE side = 'b') other USING (place)
    WHERE one.said IS DISTINCT FROM other.said
), texts AS (
    SELECT s.place, s.side, list([rc.role, c.text] ORDER BY rc.ordinal) AS said
    FROM sides s SEMI JOIN renamed USING (place) JOIN lake.release_captions rc USING (name, version, "position")
    JOIN lake.captions c USING (caption_id) GROUP BY ALL
), retold AS (
    SELECT place FROM (FROM texts WHERE side = 'a') one FULL JOIN (FROM texts WHERE side = 'b') other USING (place)
    WHERE one.said IS DISTINCT FROM other.said
), excluded AS (
    SELECT 'removed' AS outcome, source, source_key, reason, detail FROM lake.exclusions WHERE name = $b.name AND version = $b.version
    UNION ALL
    SELECT 'added', source, source_key, reason, detail FROM lake.exclusions WHERE name = $a.name AND version = $a.version
), gone AS (
    SELECT source, source_key FROM lake.fetch_failures WHERE reason = 'taken_down'
), placed AS (
    SELECT source, source_key, collection FROM lake.images AT (VERSION => :b)
    UNION ALL
    SELECT source, source_key, collection FROM lake.images AT (VERSION => :a) SEMI JOIN (FROM met WHERE outcome = 'removed') USING (source, source_key)
    ANTI JOIN (FROM lake.images AT (VERSION => :b)) USING (source, source_key)
)
SELECT met.* EXCLUDE (outcome),
       CASE WHEN retold.place IS NOT NULL THEN 'recaptioned' ELSE outcome END AS outcome,
       coalesce(placed.collection, '(unknown)') AS collection,
       CASE WHEN outcome IN ('added', 'removed') THEN coalesce(
           excluded.reason, CASE WHEN gone.source IS NOT NULL THEN 'taken_down'
                                 WHEN (outcome = 'removed') = (:a <= :b) THEN 'no_longer_in_lake' ELSE 'new_in_lake' END) END AS reason,
       excluded.detail
FROM met
LEFT JOIN retold ON retold.place = met.a_position AND outcome = 'changed'
LEFT JOIN excluded USING (outcome, source, source_key)
LEFT JOIN gone ON gone.source = met.source AND gone.source_key = met.source_key AND outcome = 'removed'
LEFT JOIN placed ON placed.source = met.source AND placed.source_key = met.source_key
