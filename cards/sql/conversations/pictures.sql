-- The pictures that conversations are about, by collection, and their licences. Without a collection: the lake has not that picture.
WITH asked AS (SELECT DISTINCT unnest(image_ids) AS image_id FROM conversations),
source AS (SELECT source, any_value(license) AS license, any_value(redistribute) AS redistribute FROM sources GROUP BY ALL),
one AS (SELECT image_id, any_value(collection) AS collection, any_value(coalesce(images.license, source.license)) AS licence,
    any_value(redistribute) AS redistribute FROM images LEFT JOIN source USING (source) GROUP BY image_id)
SELECT collection, redistribute, count(*) AS pictures, string_agg(DISTINCT licence, ', ' ORDER BY licence) AS licences
FROM asked LEFT JOIN one USING (image_id)
GROUP BY ALL
ORDER BY pictures DESC, collection NULLS LAST
