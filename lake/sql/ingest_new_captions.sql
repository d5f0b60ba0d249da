-- Listed rows with a text that the lake lacks, of pictures that it has: a list of captions that came after the pictures, or a second
-- row of the same picture. $listed: glob of the candidates; $source: the source's name.
CREATE OR REPLACE TEMP TABLE ingest_new_captions AS
WITH texts AS (
    SELECT row_id, ingest_plan.source_key, unnest(captions) AS caption
    FROM read_parquet($listed) JOIN ingest_plan USING (row_id)
    WHERE todo IN ('present', 'repeated')
)
SELECT DISTINCT row_id, i.image_id
FROM texts
JOIN images i ON i.source = $source AND i.source_key = texts.source_key
WHERE NOT EXISTS (
    SELECT 1 FROM captions c
    WHERE c.source = $source AND c.source_key = texts.source_key AND c.kind = caption.kind AND c.text = caption.text
)
