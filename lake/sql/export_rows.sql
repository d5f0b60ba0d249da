-- The rows of one split of a release with their captions and what may be passed on of the picture.
WITH texts AS (
    SELECT rc.position,
           list({'text': c.text, 'role': rc.role, 'producer': c.producer, 'license': c.license} ORDER BY rc.ordinal) AS captions
    FROM lake.release_captions rc JOIN lake.captions c AT (VERSION => :snapshot) USING (caption_id)
    WHERE rc.name = $name AND rc.version = $version
    GROUP BY rc.position
)
SELECT texts.captions, i.image_id, i.source, i.source_key, i.collection, i.subset, i.url, i.license, i.author, i.width, i.height,
       i.format, r.row_sha256, coalesce(s.redistribute, 'none') AS redistribute
FROM lake.release_items r
JOIN lake.images i AT (VERSION => :snapshot) USING (source, source_key)
LEFT JOIN lake.sources s ON s.source = i.source
LEFT JOIN texts ON texts.position = r.position
WHERE r.name = $name AND r.version = $version AND r.split = $split
ORDER BY r.position
