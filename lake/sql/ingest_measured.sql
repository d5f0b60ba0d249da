-- What this lake has measured, of the source where it has anything, else of all sources; null where there is nothing. $source.
-- Mean bytes of pictures by URL and from archives; seconds a picture by URL and from archives; seconds a byte of archives downloaded.
WITH sizes AS (
    SELECT source = $source AS own, archive IS NULL AS by_url, sum(n_bytes) / count(*) AS mean FROM images GROUP BY ALL
), work AS (
    SELECT target = $source AS own,
           sum((counts->>'fetched')::BIGINT) AS fetched, sum((counts->>'fetch_seconds')::DOUBLE) AS fetch_seconds,
           sum((counts->>'images')::BIGINT - (counts->>'fetched')::BIGINT) AS "read",
           sum((counts->>'seconds')::DOUBLE - (counts->>'fetch_seconds')::DOUBLE) AS read_seconds
    FROM runs WHERE step = 'ingest' GROUP BY ALL
), downloads AS (
    SELECT sum(seconds) / sum((counts->>'n_bytes')::BIGINT) AS each FROM runs WHERE step = 'download'
)
SELECT arg_max(mean, own) FILTER (by_url), arg_max(mean, own) FILTER (NOT by_url),
       (SELECT arg_max(fetch_seconds / fetched, own) FROM work WHERE fetched > 0),
       (SELECT arg_max(read_seconds / "read", own) FROM work WHERE "read" > 0),
       (SELECT each FROM downloads)
FROM sizes
