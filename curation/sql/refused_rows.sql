-- Rows of images at a snapshot with captions by $producer (null: any), all of which have one of the flags $flags. A caption with a source
-- belongs to its row alone, one without to every row of its picture.
WITH flagged AS (
    SELECT caption_id, list(flag ORDER BY flag) AS flags
    FROM lake.caption_flags AT (VERSION => :snapshot)
    WHERE list_contains($flags, flag)
    GROUP BY caption_id
)
SELECT rows.source, rows.source_key,
       concat(
           string_agg(DISTINCT array_to_string(flagged.flags, ', '), '; ' ORDER BY array_to_string(flagged.flags, ', ')),
           CASE WHEN count(*) > 1 THEN concat(' (', count(*), ' captions)') ELSE '' END
       ) AS detail
FROM lake.images AS rows AT (VERSION => :snapshot)
JOIN lake.captions AS made AT (VERSION => :snapshot)
  ON made.image_id = rows.image_id
 AND (made.source IS NULL OR (made.source = rows.source AND made.source_key = rows.source_key))
LEFT JOIN flagged USING (caption_id)
WHERE $producer IS NULL OR made.producer = $producer
GROUP BY rows.source, rows.source_key
HAVING count(*) = count(flagged.caption_id)
ORDER BY rows.source, rows.source_key
