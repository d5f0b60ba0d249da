-- What is shown of the pictures of view _hits (image_id): their first row in order of the key, and one of their captions.
SELECT image_id, source, source_key, collection, width, height, caption_id, caption
FROM (
    SELECT image_id, source, source_key, collection, width, height
    FROM images SEMI JOIN _hits USING (image_id)
    QUALIFY row_number() OVER (PARTITION BY image_id ORDER BY source, source_key) = 1
) shown
LEFT JOIN (
    SELECT image_id, min(caption_id) AS caption_id, arg_min("text", caption_id) AS caption
    FROM captions SEMI JOIN _hits USING (image_id)
    GROUP BY image_id
) texts USING (image_id)
