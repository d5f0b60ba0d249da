-- Why a row listed for download has no picture in the lake.
SELECT collection, source, reason, count(*) AS "rows", max(attempts) AS most_attempts
FROM fetch_failures
GROUP BY ALL
ORDER BY collection, source, "rows" DESC, reason
