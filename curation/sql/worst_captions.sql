-- Flagged captions whose pictures are in the lake, the worst first: by the weights of their flags (view _weights: flag, weight), then in
-- an order that says nothing. With what the checks look at, so that the page can mark it.
WITH annotated AS ($annotated), placed AS (
    SELECT image_id, arg_min(collection, (source, source_key)) AS collection FROM lake.images GROUP BY image_id
), worst AS (
    SELECT made.caption_id, sum(weights.weight) AS weight,
           list({flag: found.flag, detail: found.detail} ORDER BY weights.weight DESC, found.flag) AS flags
    FROM lake.caption_flags found
    JOIN _weights weights USING (flag)
    JOIN lake.captions made USING (caption_id)
    JOIN placed USING (image_id)
    WHERE $of_producer
    GROUP BY made.caption_id
    ORDER BY weight DESC, md5(made.caption_id)
    LIMIT $most
), said AS (
    SELECT image_id, list("text" ORDER BY "text") AS texts
    FROM lake.captions
    WHERE kind = 'human' AND image_id IN (SELECT image_id FROM lake.captions SEMI JOIN worst USING (caption_id))
    GROUP BY image_id
)
SELECT made.caption_id, made.image_id, made.producer, made."text", made.kind, made.finish_reason, made.words,
       coalesce(own.collection, placed.collection) AS collection, annotated.objects, annotated.ocr, prompts."text" AS prompt,
       list_filter(coalesce(said.texts, []), lambda other: other <> made."text") AS "references", worst.flags
FROM worst
JOIN lake.captions made USING (caption_id)
JOIN placed USING (image_id)
LEFT JOIN lake.images own ON own.source = made.source AND own.source_key = made.source_key
LEFT JOIN annotated ON annotated.image_id = made.image_id
LEFT JOIN said ON said.image_id = made.image_id
LEFT JOIN _prompts prompts ON prompts.prompt_sha256 = made.prompt_sha256
ORDER BY worst.weight DESC, md5(made.caption_id)
