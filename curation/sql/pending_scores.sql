-- Captions without a score by $pair whose picture has a vector in view _cached (image_id, place).
SELECT made.caption_id, made."text", stored.place
FROM lake.captions made
JOIN _cached stored USING (image_id)
WHERE NOT EXISTS (
    SELECT 1 FROM lake.caption_scores old WHERE old.caption_id = made.caption_id AND old.model_id = $pair
)
