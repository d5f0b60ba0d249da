-- Captions without counts by $parser. Those of one text come together, so that it is parsed once.
SELECT DISTINCT asked.caption_id, asked."text"
FROM captions asked
WHERE asked.producer IN ($producers) AND asked."text" IS NOT NULL
  AND NOT EXISTS (
      SELECT 1 FROM lake.caption_words old WHERE old.caption_id = asked.caption_id AND old.parser = $parser
  )
ORDER BY md5(asked."text"), asked.caption_id
