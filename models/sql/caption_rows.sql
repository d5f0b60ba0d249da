-- The rows of view _items (source, source_key) with what a prompt may say of them, in the order in which their pictures lie.
WITH texts AS (
    SELECT source, source_key,
           arg_min("text", (params->>'ordinal')::INTEGER) FILTER (WHERE kind = 'alt') AS alt_text,
           arg_min("text", (params->>'ordinal')::INTEGER) FILTER (WHERE kind = 'human') AS caption
    FROM lake.captions
    WHERE producer = 'source' AND kind IN ('alt', 'human')
    GROUP BY ALL
)
SELECT i.source, i.source_key, i.image_id, i.collection, i.subset, i.author, i.meta::VARCHAR AS meta, i.width, i.height,
       i.shard, i."row", i."offset", i.n_bytes, t.alt_text, t.caption
FROM lake.images i
SEMI JOIN _items USING (source, source_key)
LEFT JOIN texts t USING (source, source_key)
ORDER BY i.shard, i."row", i.source, i.source_key
