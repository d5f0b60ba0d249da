-- File names without suffix of the collections' pictures, and of those that failed, as released paths would have them: in lower
-- case, blanks as underscores, COCO's of 2014 by their number. A URL gives its file name for lists of the user's own alone; a web
-- picture has its subject's name too. $listed: glob of the released rows.
CREATE OR REPLACE TEMP TABLE released_names AS
WITH known AS (
    SELECT source, source_key, collection, subset, image_id, url, archive, member, meta, NULL::VARCHAR AS reason, false AS failed
    FROM images
    UNION ALL
    SELECT source, source_key, collection, subset, NULL, url, archive, member, NULL, reason, true
    FROM fetch_failures WHERE source <> $source
), placed AS (
    SELECT *, CASE WHEN archive IS NOT NULL AND NOT ends_with(archive, '.parquet') AND member IS NOT NULL THEN member
                   WHEN NOT contains(source_key, '://') THEN source_key
                   WHEN collection IN ('web', 'wikiart') THEN url_decode(regexp_replace(source_key, '[?#].*$', '')) END AS path
    FROM known
    WHERE collection IN (SELECT DISTINCT collection FROM read_parquet($listed) WHERE bad IS NULL)
), names AS (
    SELECT * EXCLUDE (path, meta, url, archive, member),
           regexp_replace(regexp_extract(path, '[^/]*$'), CASE WHEN collection = 'coco' THEN '^COCO_[a-z]+2014_' ELSE '^$' END, '') AS name
    FROM placed WHERE path IS NOT NULL
), stems AS (
    SELECT * EXCLUDE (name), regexp_replace(name, '(.)\.[A-Za-z0-9]{1,5}$', '\1') AS stem FROM names
    UNION ALL
    SELECT * EXCLUDE (path, meta, url, archive, member), meta->>'name' FROM placed WHERE collection = 'web'
)
SELECT DISTINCT * EXCLUDE (stem), replace(lower(stem), ' ', '_') AS stem FROM stems WHERE stem <> ''
