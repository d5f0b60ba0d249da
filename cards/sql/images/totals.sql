-- How much the release holds. Bytes are those of the distinct pictures, as downloaded.
SELECT
    (SELECT count(*) FROM items) AS items,
    (SELECT count(DISTINCT image_id) FROM items) AS images,
    (SELECT coalesce(sum(n_bytes), 0)::BIGINT FROM (SELECT DISTINCT image_id, n_bytes FROM items)) AS bytes,
    (SELECT count(DISTINCT collection) FROM items) AS collections,
    (SELECT count(DISTINCT source) FROM items) AS sources,
    (SELECT count(*) FROM captions) AS captions,
    (SELECT count(DISTINCT "position") FROM captions) AS items_with_captions,
    (SELECT count(*) FROM exclusions) AS excluded,
    (SELECT count(*) FROM fetch_failures) AS fetch_failures
