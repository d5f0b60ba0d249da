-- For each row of view _asked (source, source_key, image_id, prompt_sha256): its newest caption by $producer, asked with $params (however
-- often), that has none of the flags $refuse; else null, and what it was refused for (null where it has no caption at all).
WITH made AS (
    SELECT a.source, a.source_key, c.caption_id, c.created_at,
           (SELECT string_agg(f.flag, ', ' ORDER BY f.flag) FROM lake.caption_flags AS f AT (VERSION => :snapshot)
            WHERE f.caption_id = c.caption_id AND list_contains($refuse, f.flag)) AS refused
    FROM _asked a
    LEFT JOIN lake.captions AS c AT (VERSION => :snapshot)
      ON c.image_id = a.image_id AND c.prompt_sha256 = a.prompt_sha256 AND c.producer = $producer
     AND json_merge_patch(c.params, '{"redo": null}')::VARCHAR = $params
)
SELECT source, source_key, accepted AS caption_id, CASE WHEN accepted IS NULL THEN newest END AS refused
FROM (
    SELECT source, source_key,
           arg_max(caption_id, (created_at, caption_id)) FILTER (WHERE refused IS NULL) AS accepted,
           arg_max(refused, (created_at, caption_id)) AS newest
    FROM made
    GROUP BY source, source_key
)
ORDER BY source, source_key
