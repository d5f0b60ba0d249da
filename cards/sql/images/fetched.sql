-- Of each source's rows listed for download: how many have a picture in the lake, how many have not, and when they came.
WITH present AS (
    SELECT collection, source, count(*) AS present,
        strftime(min(ingested_at) AT TIME ZONE 'UTC', '%Y-%m-%d') AS first_day,
        strftime(max(ingested_at) AT TIME ZONE 'UTC', '%Y-%m-%d') AS last_day
    FROM images GROUP BY ALL
),
failed AS (SELECT collection, source, count(*) AS failed FROM fetch_failures GROUP BY ALL)
SELECT collection, source, coalesce(present, 0) AS present, coalesce(failed, 0) AS failed,
    round(100.0 * coalesce(failed, 0) / (coalesce(present, 0) + coalesce(failed, 0)), 2)::DOUBLE AS failed_percent,
    first_day, last_day
FROM present FULL JOIN failed USING (collection, source)
ORDER BY collection, source
