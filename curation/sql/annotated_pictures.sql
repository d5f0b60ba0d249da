-- What annotations say of pictures: the classes of COCO's instances, and the strings that OCR read (meta of images, see sources coco and
-- textcaps). A picture of several rows has what any of them says.
SELECT image_id,
       list_sort(list_distinct(flatten(list(json_keys(meta, '$.objects')) FILTER (json_type(meta, '$.objects') = 'OBJECT')))) AS objects,
       list_distinct(flatten(list(CAST(meta->'$.ocr_tokens' AS VARCHAR[])) FILTER (json_type(meta, '$.ocr_tokens') = 'ARRAY'))) AS ocr
FROM lake.images
WHERE json_type(meta, '$.objects') = 'OBJECT' OR json_type(meta, '$.ocr_tokens') = 'ARRAY'
GROUP BY image_id
