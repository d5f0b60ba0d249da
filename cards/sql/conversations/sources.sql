-- The sources of the pictures that conversations are about, as they describe themselves.
WITH asked AS (SELECT DISTINCT unnest(image_ids) AS image_id FROM conversations),
used AS (SELECT DISTINCT source FROM images SEMI JOIN asked USING (image_id))
SELECT source, any_value(collection) AS collection, any_value(title) AS title, any_value(homepage) AS homepage,
    any_value(license) AS licence, any_value(license_url) AS licence_url, any_value(redistribute) AS redistribute,
    any_value(citation) AS citation
FROM sources SEMI JOIN used USING (source)
GROUP BY source
ORDER BY collection, source
