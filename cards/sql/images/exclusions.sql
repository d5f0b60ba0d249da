-- Why rows of the lake are not in the release. The collection is null where the row has left the lake since.
SELECT exclusions.reason, images.collection, count(*) AS pictures
FROM exclusions LEFT JOIN images USING (source, source_key)
GROUP BY ALL
ORDER BY exclusions.reason, images.collection NULLS LAST
