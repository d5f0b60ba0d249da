-- The software that the steps noted when they ran.
WITH noted AS (
    SELECT step, unnest(map_entries(from_json(versions, '"MAP(VARCHAR, VARCHAR)"'))) AS entry FROM runs WHERE versions IS NOT NULL
)
SELECT entry.key AS package, entry.value AS version, string_agg(DISTINCT step, ', ' ORDER BY step) AS steps
FROM noted
GROUP BY ALL
ORDER BY package, version
