-- Rows of the release whose picture was taken down since it was made, and for what reason takedowns of the lake were asked.
SELECT count(*) AS redacted FROM release_items
WHERE name = $name AND version = $version AND coalesce(source, image_id, conversation_id) IS NULL
