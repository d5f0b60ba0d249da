-- Scores in view _made: only of captions that were not taken down meanwhile, and that got none from another process.
INSERT INTO lake.caption_scores BY NAME
SELECT made.caption_id, made.model_id, made.score, made.truncated
FROM _made made
WHERE made.caption_id IN (SELECT caption_id FROM lake.captions)
  AND NOT EXISTS (
      SELECT 1 FROM lake.caption_scores old WHERE old.caption_id = made.caption_id AND old.model_id = made.model_id
  )
