-- Captions that lack one of the tags $tags, with what their pictures' annotations say, and the flags that they lack (missing) with
-- their tags (wanted). A picture of several rows has the collection of the caption's own row, else of the first in order of the key.
WITH known AS (
    SELECT made.caption_id, made.image_id, made."text", made.kind, made.finish_reason, made.prompt_sha256, made.source,
           made.source_key, made.producer, coalesce(noted.checks, []) AS checks
    FROM lake.captions made
    LEFT JOIN lake.caption_checks noted USING (caption_id)
    WHERE $of_producer
), placed AS (
    SELECT image_id, arg_min(collection, (source, source_key)) AS collection FROM lake.images GROUP BY image_id
), annotated AS ($annotated), said AS (
    SELECT image_id, list("text" ORDER BY "text") AS texts
    FROM lake.captions SEMI JOIN (SELECT image_id FROM annotated WHERE objects IS NOT NULL) USING (image_id)
    WHERE kind = 'human'
    GROUP BY image_id
), beside AS (
    SELECT known.*, coalesce(own.collection, placed.collection, '') AS collection, annotated.objects, annotated.ocr,
           CASE WHEN annotated.objects IS NULL THEN [] ELSE list_filter(coalesce(said.texts, []), lambda other: other <> known."text") END AS refs,
           CASE WHEN coalesce(annotated.objects, annotated.ocr) IS NULL THEN '' ELSE '+' || left(md5(
               coalesce(annotated.objects::VARCHAR, '') || '|' || coalesce(annotated.ocr::VARCHAR, '') || '|' || coalesce(said.texts::VARCHAR, '')
           ), 12) END AS annotation,
           prompts."text" AS prompt
    FROM known
    LEFT JOIN lake.images own ON own.source = known.source AND own.source_key = known.source_key
    LEFT JOIN placed ON placed.image_id = known.image_id
    LEFT JOIN annotated ON annotated.image_id = known.image_id
    LEFT JOIN said ON said.image_id = known.image_id
    LEFT JOIN _prompts prompts ON prompts.prompt_sha256 = known.prompt_sha256
), tagged AS (
    SELECT *, list_filter([$tags], lambda one: NOT (list_contains(checks, one) OR list_contains(checks, one || '+prompt'))) AS wanted FROM beside
)
SELECT caption_id, "text", kind, collection, finish_reason, prompt, objects, refs AS "references", ocr, wanted,
       list_transform(wanted, lambda one: split_part(one, '=', 1)) AS missing
FROM tagged
WHERE len(wanted) > 0
