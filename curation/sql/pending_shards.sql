-- Shards in disk order with how many pictures of each have no vector by model ? yet; a picture counts in its first shard.
SELECT shard, count(*)::BIGINT AS pictures
FROM (SELECT image_id, min(shard) AS shard FROM lake.images GROUP BY image_id) stored
WHERE NOT EXISTS (
    SELECT 1 FROM lake.embeddings made WHERE made.image_id = stored.image_id AND made.model_id = ?
)
GROUP BY shard
ORDER BY shard
