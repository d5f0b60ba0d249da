-- Vectors in view _made: only of pictures that were not taken down meanwhile, and that got none from another process.
INSERT INTO lake.embeddings BY NAME
SELECT made.image_id, made.model_id, made.vector
FROM _made made
WHERE made.image_id IN (SELECT image_id FROM lake.images)
  AND NOT EXISTS (
      SELECT 1 FROM lake.embeddings old WHERE old.image_id = made.image_id AND old.model_id = made.model_id
  )
