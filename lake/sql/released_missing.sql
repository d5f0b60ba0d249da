-- The released rows that have no picture, one a path: reason and detail for fetch_failures, and why in a word.
CREATE OR REPLACE TEMP TABLE released_missing AS
WITH lacking AS (
    SELECT * FROM released_found WHERE n <> 1
), failed AS (
    SELECT l.image, min({'at': f.source || ':' || f.source_key, 'reason': f.reason}) AS why
    FROM lacking l JOIN released_names f ON f.collection = l.collection AND f.stem = replace(lower(l.stem), ' ', '_')
    WHERE l.n = 0 AND f.failed AND (l.subset IS NULL OR f.subset IS NULL OR f.subset = l.subset)
    GROUP BY l.image
)
SELECT image, collection, subset, first_row, 'missing_member' AS reason,
       CASE WHEN n > 1 THEN 'ambiguous' ELSE coalesce(failed.why.reason, 'not_in_lake') END AS why,
       CASE WHEN n > 1 THEN n || ' different pictures have this name: ' || array_to_string(pictures, ', ')
            WHEN failed.why IS NOT NULL THEN failed.why.at || ' failed: ' || failed.why.reason
            ELSE 'not in the lake' END AS detail
FROM lacking LEFT JOIN failed USING (image)
UNION ALL
SELECT image, any_value(collection), any_value(subset), min(row_id), 'bad_row', 'bad_row', min(bad)
FROM read_parquet($listed) r
WHERE bad IS NOT NULL AND NOT EXISTS (SELECT 1 FROM released_found f WHERE f.image = r.image)
GROUP BY image
