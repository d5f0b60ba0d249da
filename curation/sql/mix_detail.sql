-- Rows of the base with one question and one answer on a picture of COCO that are detailed captions, in order.
SELECT conversation_id, "row", question
FROM (
    SELECT conversation_id, regexp_extract(origin, '[0-9]+$')::BIGINT AS "row", record->>'id' AS id, turns->0->>'value' AS question,
           trim(turns->1->>'value', e' \t\r\n') AS answer
    FROM lake.conversations
    WHERE :base AND starts_with(image_paths[1], 'coco/train2017/') AND json_array_length(turns) = 2
)
WHERE :wanted
ORDER BY "row"
