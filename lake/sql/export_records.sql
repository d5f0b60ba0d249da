-- The captions of a release of images as rows of LLaVA's form; record is NULL for a picture without one. A path that two pictures would have goes to neither of them.
SELECT n.position, coalesce(rc.ordinal, 0) AS ordinal, n.path,
       CASE WHEN c."text" IS NOT NULL THEN concat(
           '{"id":', to_json(regexp_replace(regexp_extract(n.path, '[^/]*$'), '(.)\.[A-Za-z0-9]{1,5}$', '\1'))::VARCHAR, ',"image":',
           to_json(n.path)::VARCHAR, ',"conversations":[{"from":"human","value":', to_json($question::VARCHAR)::VARCHAR,
           '},{"from":"gpt","value":', to_json(c."text")::VARCHAR, '}]}') END AS record
FROM (
    SELECT position, CASE WHEN count(*) OVER (PARTITION BY path) = 1 THEN path
                          ELSE collection || '/images/' || image_id || '.' || lower(replace(format, 'JPEG', 'jpg')) END AS path
    FROM (
        SELECT position, collection, image_id, format,
               CASE WHEN $bare AND collection = 'lcs' AND NOT contains(source_key, '://') THEN source_key ELSE :path END AS path
        FROM (SELECT position, source, source_key FROM lake.release_items WHERE name = $name AND version = $version)
        JOIN lake.images AT (VERSION => :snapshot) USING (source, source_key)
    )
) n
LEFT JOIN lake.release_captions rc ON rc.name = $name AND rc.version = $version AND rc.position = n.position
LEFT JOIN lake.captions c AT (VERSION => :snapshot) USING (caption_id)
