-- Pictures of the shards ? without a vector by model ?, in disk order.
SELECT image_id
FROM lake.images stored
WHERE list_contains(?::VARCHAR[], shard) AND NOT EXISTS (
    SELECT 1 FROM lake.embeddings made WHERE made.image_id = stored.image_id AND made.model_id = ?
)
GROUP BY image_id
ORDER BY min(shard), min("row")
