-- The release beside its parent: rows of each collection that came, went, stayed as they were, and stayed with another picture, other
-- captions or another split. A row is its source and key; its SHA-256 is over all of that. Rows that were taken down have no source.
WITH ours AS (
    SELECT source, source_key, row_sha256 FROM release_items WHERE name = $name AND version = $version AND source IS NOT NULL
),
theirs AS (
    SELECT source, source_key, row_sha256 AS before FROM release_items WHERE name || '@' || version = $parent AND source IS NOT NULL
)
SELECT collection, count(*) FILTER (before IS NULL) AS added, count(*) FILTER (row_sha256 IS NULL) AS removed,
    count(*) FILTER (before <> row_sha256) AS changed, count(*) FILTER (before = row_sha256) AS unchanged
FROM ours FULL JOIN theirs USING (source, source_key)
LEFT JOIN (SELECT source, any_value(collection) AS collection FROM sources GROUP BY source) USING (source)
GROUP BY collection
ORDER BY collection NULLS LAST
