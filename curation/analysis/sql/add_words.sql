-- Counts in view _made: only of captions that were not taken down meanwhile, and that got none from another process.
INSERT INTO lake.caption_words BY NAME
SELECT made.*
FROM _made made
WHERE made.caption_id IN (SELECT caption_id FROM lake.captions)
  AND NOT EXISTS (
      SELECT 1 FROM lake.caption_words old WHERE old.caption_id = made.caption_id AND old.parser = made.parser
  )
