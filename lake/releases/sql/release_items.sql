-- One row per item, in order: the item's place beside its picture's row as it was at the snapshot the release pins.
CREATE OR REPLACE TEMP VIEW items AS
SELECT
    item.position, item.split, item.row_sha256,
    image.* REPLACE (item.source AS source, item.source_key AS source_key, item.image_id AS image_id)
FROM lake.main.release_items AS item
LEFT JOIN {images} AS image
    ON image.source = item.source AND image.source_key = item.source_key
WHERE item.name = {name} AND item.version = {version}
  AND coalesce(item.source, item.image_id, item.conversation_id) IS NOT NULL; -- else its picture was taken down
