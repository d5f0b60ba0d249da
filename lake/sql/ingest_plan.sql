-- What to do with each listed row. $listed: glob of the candidates; $source: the source's name; $retry: also rows that failed before.
CREATE OR REPLACE TEMP TABLE ingest_plan AS
WITH listed AS (
    SELECT row_id, source_key, url, archive, bad,
           row_number() OVER (PARTITION BY source_key ORDER BY row_id) AS nth
    FROM read_parquet($listed)
), known AS (
    SELECT listed.*,
           EXISTS (SELECT 1 FROM images i WHERE i.source = $source AND i.source_key = listed.source_key) AS present,
           EXISTS (SELECT 1 FROM fetch_failures f WHERE f.source = $source AND f.source_key = listed.source_key) AS failed,
           archive IS NULL AND EXISTS (SELECT 1 FROM images i WHERE i.url = listed.url) AS fetched,
           archive IS NULL AND EXISTS (
               SELECT 1 FROM fetch_failures f
               WHERE f.url = listed.url AND f.archive IS NULL AND f.reason NOT IN ('blocked_address', 'too_large', 'bad_row')
           ) AS unfetchable
    FROM listed
), decided AS (
    SELECT row_id, url,
           CASE WHEN nth > 1 THEN 'repeated'
                WHEN present THEN 'present'
                WHEN failed AND NOT $retry THEN 'failed_before'
                WHEN bad IS NOT NULL THEN 'bad'
                WHEN archive IS NOT NULL THEN 'read'
                WHEN fetched OR (unfetchable AND NOT $retry) THEN 'copy'
                ELSE 'fetch' END AS todo
    FROM known
)
-- Of several new rows with one URL the first is fetched; the others take its outcome.
SELECT row_id, url,
       CASE WHEN todo = 'fetch' AND row_number() OVER (PARTITION BY todo, url ORDER BY row_id) > 1 THEN 'copy_later' ELSE todo END AS todo
FROM decided
