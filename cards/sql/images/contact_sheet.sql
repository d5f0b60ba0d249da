-- The pictures shown: those whose source lets bytes be passed on, in order of their SHA-256, in turn from each collection.
WITH open_source AS (SELECT DISTINCT source FROM sources WHERE redistribute = 'bytes'),
license_of AS (SELECT source, any_value(license) AS source_license FROM sources GROUP BY ALL),
candidates AS (
    SELECT items.*, coalesce(license, source_license) AS licence FROM items JOIN license_of USING (source)
    WHERE source IN (SELECT source FROM open_source) AND shard IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY image_id ORDER BY "position") = 1
),
ranked AS (SELECT *, row_number() OVER (PARTITION BY collection ORDER BY image_id) AS turn FROM candidates),
chosen AS (SELECT * FROM ranked ORDER BY turn, collection LIMIT 12),
first_caption AS (
    SELECT "position", left("text", 300) AS caption FROM captions WHERE "position" IN (SELECT "position" FROM chosen)
    QUALIFY row_number() OVER (PARTITION BY "position" ORDER BY ordinal) = 1
)
SELECT image_id, collection, source, source_key, author, licence, url, caption
FROM chosen LEFT JOIN first_caption USING ("position")
ORDER BY collection, turn
