-- What a model was asked, and what it cost.
SELECT kind, producer, prompt_id, count(*) AS captions, sum(input_tokens)::BIGINT AS input_tokens,
    sum(output_tokens)::BIGINT AS output_tokens, round(sum(cost_usd), 2)::DOUBLE AS cost_usd
FROM captions
WHERE prompt_id IS NOT NULL OR input_tokens IS NOT NULL OR cost_usd IS NOT NULL
GROUP BY ALL
ORDER BY captions DESC, kind, producer, prompt_id NULLS FIRST
