-- The conversations by where they come from.
SELECT regexp_replace(origin, ':\d+$', '') AS origin, count(*) AS items, round(100.0 * count(*) / sum(count(*)) OVER (), 2)::DOUBLE AS share_percent,
    count(*) FILTER (len(image_ids) > 0) AS with_picture, round(avg(json_array_length(turns)), 2)::DOUBLE AS mean_turns,
    count(caption_id) AS of_captions
FROM conversations
GROUP BY ALL
ORDER BY items DESC, origin NULLS LAST
