-- Conversations of an export (_said: conversation_id, text_sha256, picture_ids) that the lake lacks, or that say or show something else
-- there: how many, and the first. A picture that the export lacked may be there.
SELECT count(*), min(s.conversation_id)
FROM _said s
LEFT JOIN conversations c AT (VERSION => :snapshot) USING (conversation_id)
WHERE sha256(replace(c.record::VARCHAR, '"conversations":null', '"conversations":' || c.turns::VARCHAR)) IS DISTINCT FROM s.text_sha256
   OR len(list_filter(list_zip(s.picture_ids, c.image_ids), lambda pair: pair[1] IS NOT NULL AND pair[1] IS DISTINCT FROM pair[2])) > 0
