-- What a takedown's hashes mean now, in temporary tables: pictures and where they lie, rows, URLs, captions, conversations, and rows of
-- releases. The lake's own columns are hashed, so that the takedown needs to keep nothing else.
CREATE OR REPLACE TEMP TABLE gone_images AS
SELECT source, source_key, image_id, url, shard, "row", "offset", n_bytes FROM lake.images
WHERE list_contains($image_ids, image_id) OR list_contains($keys, :key) OR list_contains($urls, :url);

CREATE OR REPLACE TEMP TABLE gone_failures AS
SELECT source, source_key, url FROM lake.fetch_failures
WHERE list_contains($keys, :key) OR list_contains($urls, :url);

CREATE OR REPLACE TEMP TABLE gone_pictures AS
SELECT image_id FROM gone_images UNION SELECT unnest($image_ids::VARCHAR[]);

CREATE OR REPLACE TEMP TABLE gone_rows AS
SELECT source, source_key FROM gone_images UNION SELECT source, source_key FROM gone_failures;

CREATE OR REPLACE TEMP TABLE gone_captions AS
SELECT caption_id FROM lake.captions
WHERE image_id IN (FROM gone_pictures) OR (source, source_key) IN (FROM gone_rows);

CREATE OR REPLACE TEMP TABLE gone_conversations AS
SELECT conversation_id FROM lake.conversations
WHERE list_has_any(image_ids, (SELECT coalesce(list(image_id), []) FROM gone_pictures)) OR caption_id IN (FROM gone_captions);

CREATE OR REPLACE TEMP TABLE gone_positions AS
SELECT name, version, "position" FROM lake.release_items
WHERE image_id IN (FROM gone_pictures) OR (source, source_key) IN (FROM gone_rows)
   OR conversation_id IN (FROM gone_conversations);
