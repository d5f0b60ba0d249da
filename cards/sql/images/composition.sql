-- Items, captions and mean sizes of each collection and source. Sizes are means over items.
WITH captioned AS (SELECT "position", count(*) AS captions FROM captions GROUP BY ALL),
source AS (SELECT source, any_value(license) AS license, any_value(redistribute) AS redistribute FROM sources GROUP BY ALL)
SELECT
    items.collection,
    items.source,
    count(*) AS items,
    round(100.0 * count(*) / sum(count(*)) OVER (), 2)::DOUBLE AS share_percent,
    round(avg(items.width))::BIGINT AS mean_width,
    round(avg(items.height))::BIGINT AS mean_height,
    round(avg(items.n_bytes))::BIGINT AS mean_bytes,
    coalesce(sum(captioned.captions), 0)::BIGINT AS captions,
    string_agg(DISTINCT coalesce(items.license, source.license), ', ' ORDER BY coalesce(items.license, source.license)) AS image_licences,
    any_value(source.redistribute) AS redistribute
FROM items LEFT JOIN captioned USING ("position") LEFT JOIN source USING (source)
GROUP BY items.collection, items.source
ORDER BY items.collection, items.source
