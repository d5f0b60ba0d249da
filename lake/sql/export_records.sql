-- The captions of a release of images as rows of LLaVA's form, each with a comma and a line feed; record is NULL for a picture without
-- one. A path that two pictures would have goes to neither of them. Joins are made as written, the right side in memory.
SELECT m.position, m.ordinal, m.path, c."text" IS NOT NULL AS captioned,
       CASE WHEN c."text" IS NOT NULL THEN concat(
           '{"id":', to_json(regexp_replace(regexp_extract(m.path, '[^/]*$'), '(.)\.[A-Za-z0-9]{1,5}$', '\1'))::VARCHAR, ',"image":',
           to_json(m.path)::VARCHAR, ',"conversations":[{"from":"human","value":', to_json($question::VARCHAR)::VARCHAR,
           '},{"from":"gpt","value":', to_json(c."text")::VARCHAR, E'}]},\n') END AS record
FROM lake.captions c AT (VERSION => :snapshot)
RIGHT JOIN (
    SELECT n.position, coalesce(rc.ordinal, 0) AS ordinal, n.path, rc.caption_id
    FROM (SELECT position, ordinal, caption_id FROM lake.release_captions WHERE name = $name AND version = $version) rc
    RIGHT JOIN (
        SELECT position, CASE WHEN count(*) OVER (PARTITION BY path) = 1 THEN path
                              ELSE collection || '/images/' || image_id || '.' || lower(replace(format, 'JPEG', 'jpg')) END AS path
        FROM (
            SELECT position, collection, image_id, format,
                   CASE WHEN $bare AND collection = 'lcs' AND NOT contains(source_key, '://') THEN source_key ELSE :path END AS path
            FROM lake.images AT (VERSION => :snapshot)
            JOIN (SELECT position, source, source_key FROM lake.release_items WHERE name = $name AND version = $version)
                USING (source, source_key)
        )
    ) n ON rc.position = n.position
) m ON c.caption_id = m.caption_id
