WITH present AS (
    SELECT source, count(*) AS n FROM images GROUP BY source
), failed AS (
    SELECT source, count(*) AS n FROM fetch_failures GROUP BY source
), embedded AS (
    SELECT source, count(*) AS n FROM images WHERE image_id IN (SELECT image_id FROM embeddings) GROUP BY source
), captioned AS (
    SELECT source, count(*) AS n FROM images WHERE image_id IN (SELECT image_id FROM captions) GROUP BY source
), listed AS (
    -- The newest count of each list of inputs; a source may have several lists.
    SELECT target AS source, sum(listed)::BIGINT AS n
    FROM (SELECT target, arg_max((counts->>'listed')::BIGINT - coalesce((counts->>'repeated')::BIGINT, 0), created_at) AS listed
          FROM runs WHERE step = 'ingest' GROUP BY target, detail)
    GROUP BY target
)
SELECT s.source, s.collection, listed.n, coalesce(present.n, 0), coalesce(failed.n, 0), coalesce(embedded.n, 0), coalesce(captioned.n, 0)
FROM sources s
LEFT JOIN listed USING (source) LEFT JOIN present USING (source) LEFT JOIN failed USING (source)
LEFT JOIN embedded USING (source) LEFT JOIN captioned USING (source)
ORDER BY s.source
