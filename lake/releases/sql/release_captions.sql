-- One row per caption of the release, as it was at the snapshot the release pins.
CREATE OR REPLACE TEMP VIEW captions AS
SELECT chosen.position, chosen.ordinal, chosen.role, caption.* REPLACE (chosen.caption_id AS caption_id)
FROM lake.main.release_captions AS chosen
LEFT JOIN {captions} AS caption ON caption.caption_id = chosen.caption_id
WHERE chosen.name = {name} AND chosen.version = {version};
