-- Which picture of the lake each released path means: one of its collection under the very key, else one of the same file name
-- without its suffix. n > 1: pictures of different bytes have the name. $listed: glob of the released rows.
CREATE OR REPLACE TEMP TABLE released_found AS
WITH places AS (
    SELECT image, collection, subset, key, stem, min(row_id) AS first_row
    FROM read_parquet($listed) WHERE bad IS NULL GROUP BY ALL
), exact AS (
    SELECT p.image, i.source, i.source_key, i.image_id
    FROM places p JOIN images i ON i.collection = p.collection AND i.source_key = p.key
    WHERE p.subset IS NULL OR i.subset IS NULL OR i.subset = p.subset
), named AS (
    SELECT p.image, i.source, i.source_key, i.image_id
    FROM places p JOIN released_names i ON i.collection = p.collection AND i.stem = replace(lower(p.stem), ' ', '_')
    WHERE NOT i.failed AND (p.subset IS NULL OR i.subset IS NULL OR i.subset = p.subset)
      AND p.image NOT IN (SELECT image FROM exact)
), matched AS (
    SELECT image, count(DISTINCT image_id) AS n, min({'source': source, 'source_key': source_key, 'image_id': image_id}) AS first,
           list_slice(list_sort(list(DISTINCT source || ':' || source_key)), 1, 3) AS pictures
    FROM (FROM exact UNION ALL FROM named) GROUP BY image
)
SELECT p.image, p.collection, p.subset, p.key, p.stem, p.first_row, coalesce(n, 0) AS n,
       first.source AS source, first.source_key AS source_key, first.image_id AS image_id, pictures
FROM places p LEFT JOIN matched USING (image)
