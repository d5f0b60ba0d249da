-- One row per item of a release of conversations, as it was at the snapshot the release pins.
CREATE OR REPLACE TEMP VIEW conversations AS
SELECT item.position, item.split, item.row_sha256, conversation.* REPLACE (item.conversation_id AS conversation_id)
FROM lake.main.release_items AS item
LEFT JOIN {conversations} AS conversation
    ON conversation.conversation_id = item.conversation_id
WHERE item.name = {name} AND item.version = {version} AND item.conversation_id IS NOT NULL; -- else it was taken down
