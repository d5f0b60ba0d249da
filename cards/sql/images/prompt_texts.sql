-- The prompts in full, as the runs that asked them noted them. Where a prompt has values of its row ({…}), this is it without them.
WITH noted AS (
    SELECT target AS producer, unnest(map_entries(from_json(detail->'prompt_texts', '"MAP(VARCHAR, VARCHAR)"'))) AS entry
    FROM runs WHERE step = 'caption' AND (detail->'prompt_texts') IS NOT NULL
)
SELECT DISTINCT producer, entry.key AS prompt_id, entry.value AS prompt
FROM noted
WHERE producer IN (SELECT producer FROM captions)
ORDER BY producer, prompt_id, prompt
