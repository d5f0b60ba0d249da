-- Each picture of a release once, in the order in which the pictures lie: where it is, the first of its rows, and how many pictures of the
-- release its shard has.
SELECT i.shard, i."row", i."offset", i.n_bytes, r.image_id, r.position, r.named, count(*) OVER (PARTITION BY i.shard) AS in_shard
FROM (
    SELECT image_id, min(position) AS position,
           arg_min(coalesce(source || ':' || source_key, conversation_id, 'a conversation'), position) AS named
    FROM lake.release_items WHERE name = $name AND version = $version AND image_id IS NOT NULL GROUP BY image_id
) r
LEFT JOIN (SELECT DISTINCT ON (image_id) image_id, shard, "row", "offset", n_bytes FROM lake.images) i USING (image_id)
ORDER BY i.shard, i."row"
