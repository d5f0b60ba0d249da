-- Quality flags of the captions: how many captions were looked at for each, in how many it was found.
WITH looked AS (
    SELECT kind, producer, caption_id, unnest(list_distinct(list_transform(checks, lambda made: split_part(made, '=', 1)))) AS flag
    FROM captions JOIN caption_checks USING (caption_id)
),
found AS (SELECT DISTINCT caption_id, flag FROM caption_flags)
SELECT kind, producer, flag, count(*) AS looked_at, count(found.caption_id) AS found,
    round(100.0 * count(found.caption_id) / count(*), 2)::DOUBLE AS found_percent
FROM looked LEFT JOIN found USING (caption_id, flag)
GROUP BY ALL
ORDER BY kind, producer, found DESC, flag
