-- The release beside its parent: rows of each collection that came, went, stayed, and stayed with other captions. A row is its source
-- and key. Rows that were taken down have neither, and are told as such.
WITH ours AS (
    SELECT "position", source, source_key FROM release_items WHERE name = $name AND version = $version AND source IS NOT NULL
),
theirs AS (
    SELECT "position", source, source_key FROM release_items
    WHERE name || '@' || version = $parent AND source IS NOT NULL
),
our_captions AS (
    SELECT "position", list(caption_id ORDER BY ordinal) AS captions FROM release_captions
    WHERE name = $name AND version = $version GROUP BY ALL
),
their_captions AS (
    SELECT "position", list(caption_id ORDER BY ordinal) AS captions FROM release_captions
    WHERE name || '@' || version = $parent GROUP BY ALL
),
compared AS (
    SELECT coalesce(ours.source, theirs.source) AS source, ours.source IS NOT NULL AS here, theirs.source IS NOT NULL AS there,
        our_captions.captions IS DISTINCT FROM their_captions.captions AS other
    FROM ours FULL JOIN theirs USING (source, source_key)
    LEFT JOIN our_captions ON our_captions."position" = ours."position"
    LEFT JOIN their_captions ON their_captions."position" = theirs."position"
)
SELECT collection, count(*) FILTER (here AND NOT there) AS added, count(*) FILTER (there AND NOT here) AS removed,
    count(*) FILTER (here AND there AND other) AS other_captions, count(*) FILTER (here AND there AND NOT other) AS unchanged
FROM compared LEFT JOIN (SELECT source, any_value(collection) AS collection FROM sources GROUP BY source) USING (source)
GROUP BY collection
ORDER BY collection NULLS LAST
