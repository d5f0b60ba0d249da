-- The captions of one producer, in a fixed order; :held may narrow them to a release's.
SELECT caption_id, "text", image_id, source, source_key, license
FROM lake.captions
WHERE producer = $producer AND "text" <> '' AND :held
ORDER BY caption_id
