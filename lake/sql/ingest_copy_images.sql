-- New rows whose URL is in the lake already take the picture that is there. $listed: glob of the candidates; $todo: rows of the plan.
CREATE OR REPLACE TEMP TABLE ingest_copied AS
SELECT new.row_id, new.source_key, old.* EXCLUDE (source, source_key, collection, subset, url, archive, member, license, author, meta, alt_language, ingested_at)
FROM read_parquet($listed) new
JOIN ingest_plan p ON p.row_id = new.row_id AND p.todo = $todo
JOIN images old ON old.url = new.url AND old.image_id = coalesce(new.image_id, old.image_id)
QUALIFY row_number() OVER (PARTITION BY new.row_id ORDER BY old.source, old.source_key) = 1
