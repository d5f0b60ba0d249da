-- The captions of the chosen rows that :whose holds for, in a fixed order. A caption of a source's own text belongs to its row alone; one
-- made from the picture belongs to every row of that picture.
CREATE OR REPLACE TEMP TABLE draft_captions AS
SELECT chosen.position,
       (row_number() OVER (PARTITION BY chosen.position
                           ORDER BY c.producer, c.kind, (c.params->>'ordinal')::INTEGER, c.text, c.caption_id) - 1)::INTEGER AS ordinal,
       c.caption_id, c.kind AS role, c.text
FROM chosen
JOIN captions c AT (VERSION => :snapshot)
  ON c.image_id = chosen.image_id
 AND (c.source IS NULL OR (c.source = chosen.source AND c.source_key = chosen.source_key))
WHERE :whose
