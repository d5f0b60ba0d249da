-- Licences of pictures (the picture's own, or else its source's) and of the captions that became conversations. Null: none recorded.
WITH asked AS (SELECT DISTINCT unnest(image_ids) AS image_id FROM conversations),
source AS (SELECT source, any_value(license) AS license, any_value(license_url) AS license_url FROM sources GROUP BY ALL),
one AS (SELECT image_id, any_value(coalesce(images.license, source.license)) AS licence, any_value(source.license_url) AS licence_url
    FROM images LEFT JOIN source USING (source) GROUP BY image_id)
SELECT 'picture' AS what, licence, any_value(licence_url) AS licence_url, count(*) AS n
FROM asked LEFT JOIN one USING (image_id)
GROUP BY ALL
UNION ALL
SELECT 'text', captions.license, NULL, count(*)
FROM conversations LEFT JOIN captions ON captions.caption_id = conversations.caption_id
GROUP BY ALL
ORDER BY what, n DESC, licence NULLS LAST
