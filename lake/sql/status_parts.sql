-- Of one source, what is expected, present and failed by archive (a tar, a zip), or by subset or collection where there is no archive. $source.
WITH joined AS (
    SELECT part, sum(n)::BIGINT AS n FROM (
        SELECT detail, part, arg_max(n, created_at) AS n FROM (
            SELECT detail, created_at, unnest(map_entries((counts->'found')::MAP(VARCHAR, BIGINT)), recursive := true)
            FROM runs WHERE step = 'list' AND target = $source
        ) noted(detail, created_at, part, n) GROUP BY ALL)
    GROUP BY part
), present AS (
    SELECT coalesce(archive, subset, collection) AS part, count(*) AS n FROM images WHERE source = $source GROUP BY 1
    UNION ALL FROM joined
), failed AS (
    SELECT part, sum(n)::BIGINT AS n, map_from_entries(list((reason, n) ORDER BY reason)) AS reasons
    FROM (SELECT coalesce(archive, subset, collection) AS part, reason, count(*) AS n FROM fetch_failures WHERE source = $source GROUP BY ALL)
    GROUP BY part
), listed AS (
    SELECT part, arg_max(n, created_at) AS n FROM (
        SELECT created_at, unnest(map_entries((counts->'archives')::MAP(VARCHAR, BIGINT)), recursive := true)
        FROM runs WHERE step = 'list' AND target = $source
    ) noted(created_at, part, n) GROUP BY part
), parts AS (
    SELECT part FROM present UNION SELECT part FROM failed UNION SELECT part FROM listed
)
SELECT part, greatest(coalesce(listed.n, 0), coalesce(present.n, 0) + coalesce(failed.n, 0)) AS expected,
       coalesce(present.n, 0) AS present, coalesce(failed.n, 0) AS failed, failed.reasons
FROM parts LEFT JOIN present USING (part) LEFT JOIN failed USING (part) LEFT JOIN listed USING (part)
ORDER BY part
