-- What each release did with each row of one picture: reason is null where it took it. Parameter: image_id.
WITH own AS (SELECT source, source_key FROM images WHERE image_id = $1)
SELECT i.name || '@' || i.version AS release, source || ':' || source_key AS "row", NULL AS reason, NULL AS detail, NULL AS keeper,
       NULL::DOUBLE AS similarity
FROM release_items i JOIN own USING (source, source_key)
UNION ALL
SELECT e.name || '@' || e.version, source || ':' || source_key, e.reason, e.detail, e.keeper_source || ':' || e.keeper_key, e.similarity
FROM exclusions e JOIN own USING (source, source_key)
ORDER BY ALL
