-- Where the pictures of view _wanted lie, and their size.
SELECT image_id, shard, "row", "offset", n_bytes, width, height
FROM lake.images
SEMI JOIN _wanted USING (image_id)
QUALIFY row_number() OVER (PARTITION BY image_id ORDER BY shard, "row") = 1
