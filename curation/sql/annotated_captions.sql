-- Captions of pictures with annotations, as pending_flags.sql has them.
WITH annotated AS ($annotated), said AS (
    SELECT image_id, list("text" ORDER BY "text") AS texts
    FROM lake.captions SEMI JOIN (SELECT image_id FROM annotated WHERE objects IS NOT NULL) USING (image_id)
    WHERE kind = 'human'
    GROUP BY image_id
), placed AS (
    SELECT image_id, arg_min(collection, (source, source_key)) AS collection FROM lake.images GROUP BY image_id
)
SELECT made.producer, coalesce(own.collection, placed.collection, '') AS collection, made."text", annotated.objects, annotated.ocr,
       list_filter(coalesce(said.texts, []), lambda other: other <> made."text") AS "references"
FROM lake.captions made
JOIN annotated USING (image_id)
LEFT JOIN placed USING (image_id)
LEFT JOIN said USING (image_id)
LEFT JOIN lake.images own ON own.source = made.source AND own.source_key = made.source_key
WHERE $of_producer
