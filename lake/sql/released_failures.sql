-- The failures of one range that are new, or have another reason or detail than before.
CREATE OR REPLACE TEMP TABLE released_failures AS
SELECT $source AS source, m.image AS source_key, m.collection, m.subset, m.reason, m.detail,
       coalesce(old.attempts, 0)::INTEGER + 1 AS attempts, $now::TIMESTAMPTZ AS failed_at
FROM released_missing m
LEFT JOIN fetch_failures old ON old.source = $source AND old.source_key = m.image
WHERE m.first_row BETWEEN $first AND $last
  AND (old.source IS NULL OR old.reason <> m.reason OR old.detail IS DISTINCT FROM m.detail)
