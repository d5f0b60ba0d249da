-- The rows of a release with the texts that their hashes are over.
WITH texts AS (
    SELECT rc.position, list([rc.role, c.text] ORDER BY rc.ordinal) AS texts
    FROM lake.release_captions rc JOIN lake.captions c USING (caption_id)
    WHERE rc.name = $name AND rc.version = $version
    GROUP BY rc.position
)
SELECT i.position, i.source, i.source_key, i.image_id, i.split, i.row_sha256, texts.texts
FROM lake.release_items i LEFT JOIN texts USING (position)
WHERE i.name = $name AND i.version = $version
ORDER BY i.position
