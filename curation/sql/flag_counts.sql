-- How many captions have each flag, by producer and collection.
WITH placed AS (
    SELECT image_id, arg_min(collection, (source, source_key)) AS collection FROM lake.images GROUP BY image_id
)
SELECT made.producer, coalesce(own.collection, placed.collection, '') AS collection, found.flag, count(*) AS n
FROM lake.caption_flags found
JOIN lake.captions made USING (caption_id)
LEFT JOIN lake.images own ON own.source = made.source AND own.source_key = made.source_key
LEFT JOIN placed ON placed.image_id = made.image_id
WHERE $of_producer
GROUP BY ALL
ORDER BY ALL
