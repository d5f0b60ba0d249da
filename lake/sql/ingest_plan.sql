-- What to do with each listed row. $listed: glob of the candidates; $source: the source's name; $retry: try rows that failed before, and
-- nothing else; $reasons: of these, those that failed for one of these reasons, or all where the list is empty.
-- $barred: hashes of keys and URLs that were taken down, whose rows are counted and left out.
-- A row under the key of another picture (by its hash where that is known, else by its place) is a clash: its key gets the hash of its place, so that it stays the same from run to run.
CREATE OR REPLACE TEMP TABLE ingest_plan AS
WITH places AS (
    SELECT row_id, source_key, url, archive, n_bytes, bad, image_id, coalesce(url, concat_ws('/', archive, member)) AS place,
           coalesce(image_id, place) AS picture
    FROM read_parquet($listed)
), listed AS (
    SELECT *, row_number() OVER same AS nth, first_value(picture) OVER same AS first_picture
    FROM places WINDOW same AS (PARTITION BY source_key ORDER BY row_id)
), met AS (
    SELECT listed.* EXCLUDE (source_key), listed.source_key AS listed_key, i.source_key IS NOT NULL AS met,
           (nth > 1 AND picture <> first_picture)
           OR coalesce(regexp_replace(i.url, '^https?://[^/]*', '') <> regexp_replace(listed.url, '^https?://[^/]*', ''), false)
           OR coalesce(i.image_id <> listed.image_id, false) AS clash
    FROM listed LEFT JOIN images i ON i.source = $source AND i.source_key = listed.source_key
), named AS (
    SELECT *, CASE WHEN clash THEN listed_key || '#' || left(md5(place), 8) ELSE listed_key END AS source_key FROM met
), known AS (
    SELECT named.*, met AND NOT clash AS present, f.reason AS failed,
           named.archive IS NULL AND EXISTS (
               SELECT 1 FROM images i WHERE i.url = named.url AND i.image_id = coalesce(named.image_id, i.image_id)
           ) AS fetched,
           named.archive IS NULL AND EXISTS (
               SELECT 1 FROM fetch_failures u
               WHERE u.url = named.url AND u.archive IS NULL AND u.reason NOT IN ('blocked_address', 'too_large', 'bad_row', 'changed')
           ) AS unfetchable
    FROM named LEFT JOIN fetch_failures f ON f.source = $source AND f.source_key = named.source_key
), decided AS (
    SELECT row_id, source_key, url, archive, n_bytes, image_id,
           CASE WHEN len($barred) > 0 AND (list_contains($barred, sha256('key:' || $source || ':' || listed_key))
                                           OR list_contains($barred, sha256('url:' || url))) THEN 'taken_down'
                WHEN nth > 1 AND NOT clash THEN 'repeated'
                WHEN present THEN 'present'
                WHEN failed IS NOT NULL AND NOT ($retry AND (len($reasons) = 0 OR list_contains($reasons, failed))) THEN 'failed_before'
                WHEN failed IS NULL AND $retry THEN 'not_tried'
                WHEN clash THEN 'clash'
                WHEN bad IS NOT NULL THEN 'bad'
                WHEN archive IS NOT NULL THEN 'read'
                WHEN fetched OR (unfetchable AND NOT $retry) THEN 'copy'
                ELSE 'fetch' END AS todo
    FROM known
)
-- Of several new rows with one URL (and one picture, where that is known) the first is fetched; the others take its outcome.
SELECT * EXCLUDE (image_id) REPLACE (
    CASE WHEN todo = 'fetch' AND row_number() OVER (PARTITION BY todo, url, image_id ORDER BY row_id) > 1 THEN 'copy_later' ELSE todo END AS todo)
FROM decided
