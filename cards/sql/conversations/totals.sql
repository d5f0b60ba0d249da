-- How much the release holds. A turn is a question or an answer.
SELECT
    (SELECT count(*) FROM conversations) AS items,
    (SELECT count(*) FROM conversations WHERE len(image_ids) > 0) AS with_picture,
    (SELECT count(*) FROM conversations WHERE len(coalesce(image_ids, [])) = 0) AS without_picture,
    (SELECT count(DISTINCT id) FROM (SELECT unnest(image_ids) AS id FROM conversations)) AS images,
    (SELECT coalesce(sum(json_array_length(turns)), 0)::BIGINT FROM conversations) AS turns,
    (SELECT count(*) FROM conversations WHERE caption_id IS NOT NULL) AS of_captions
