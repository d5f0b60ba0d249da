-- Benchmarks whose pictures the lake was compared with, the last comparison of each before the release was made.
WITH last AS (
    SELECT target AS benchmark, detail, counts, created_at FROM runs WHERE step = 'decontaminate'
    QUALIFY row_number() OVER (PARTITION BY target ORDER BY created_at DESC) = 1
),
found AS (
    SELECT benchmark, count(DISTINCT image_id) AS found,
        count(DISTINCT image_id) FILTER (image_id IN (SELECT image_id FROM items)) AS in_release
    FROM contamination GROUP BY benchmark
)
SELECT benchmark, strftime(created_at AT TIME ZONE 'UTC', '%Y-%m-%d') AS compared_on, (counts->>'pictures')::BIGINT AS pictures,
    (detail->>'phash_distance')::BIGINT AS phash_distance, (detail->>'threshold')::DOUBLE AS threshold, detail->>'model_id' AS model,
    coalesce(found, 0) AS found, coalesce(in_release, 0) AS in_release
FROM last FULL JOIN found USING (benchmark)
ORDER BY benchmark
