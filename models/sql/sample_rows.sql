-- The first $n of view _items (source, source_key, collection, subset), one of each collection and subset in turn, in an order of their
-- hashes; nothing but the keys decides it.
SELECT source, source_key
FROM (
    SELECT source, source_key, md5(concat(source, chr(0), source_key)) AS draw,
           row_number() OVER (PARTITION BY collection, subset ORDER BY md5(concat(source, chr(0), source_key))) AS turn
    FROM _items
)
ORDER BY turn, draw
LIMIT $n
