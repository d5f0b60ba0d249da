-- One scan of images. Membership is asked by 64-bit hashes of image_id, which is quicker than by its 64 characters; at 1.2 million
-- pictures the chance that one picture is taken for another is below one in ten million.
WITH present AS (
    SELECT source, count(*) AS n,
           count_if(hash(image_id) IN (SELECT hash(image_id) FROM embeddings)) AS embedded,
           count_if(hash(image_id) IN (SELECT hash(image_id) FROM captions)) AS captioned
    FROM images GROUP BY source
), failed AS (
    SELECT source, count(*) AS n FROM fetch_failures GROUP BY source
), listed AS (
    -- Noted when a list was planned: rows that there were, and rows of the list that were new.
    SELECT target AS source, arg_max((counts->>'expected')::BIGINT, created_at) AS n FROM runs WHERE step = 'list' GROUP BY target
), joined AS (
    -- Released captions bring no pictures: what is present of them is what found its picture, by the newest join of each list.
    SELECT source, sum(n)::BIGINT AS n
    FROM (SELECT target AS source, arg_max((counts->>'matched')::BIGINT, created_at) AS n
          FROM runs WHERE step = 'list' AND (counts->>'matched') IS NOT NULL GROUP BY target, detail)
    GROUP BY source
), have AS (
    SELECT source, coalesce(present.n, joined.n, 0) AS n, embedded, captioned FROM present FULL JOIN joined USING (source)
)
SELECT s.source, s.collection, greatest(coalesce(listed.n, 0), coalesce(have.n, 0) + coalesce(failed.n, 0)),
       coalesce(have.n, 0), coalesce(failed.n, 0), coalesce(have.embedded, 0), coalesce(have.captioned, 0)
FROM sources s
LEFT JOIN listed USING (source) LEFT JOIN have USING (source) LEFT JOIN failed USING (source)
ORDER BY s.source
