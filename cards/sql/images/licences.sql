-- Licences of pictures (the picture's own, or else its source's) and of captions (their own). Null: none recorded.
WITH source AS (SELECT source, any_value(license) AS license, any_value(license_url) AS license_url FROM sources GROUP BY ALL)
SELECT 'picture' AS what, coalesce(items.license, source.license) AS licence,
    max(CASE WHEN items.license IS NULL OR items.license = source.license THEN source.license_url END) AS licence_url,
    count(*) AS n
FROM items LEFT JOIN source USING (source)
GROUP BY ALL
UNION ALL
SELECT 'caption', license, NULL, count(*) FROM captions GROUP BY ALL
ORDER BY what DESC, n DESC, licence NULLS LAST
