-- The captions of the released rows of one range that have their picture. The id is a hash of what was released, so that a rerun
-- adds nothing, whichever row of the lake the picture is found by.
CREATE OR REPLACE TEMP TABLE released_captions AS
SELECT substr(sha256(to_json([$source, r.producer, r.kind, r.image, r.text])::VARCHAR), 1, 32) AS caption_id,
       f.image_id, f.source, f.source_key, r.kind, r.producer, r.text, r.chars::INTEGER AS chars, r.words::INTEGER AS words,
       to_json({'origin': r.origin, 'id': r.id}) AS params, $license AS license, $now::TIMESTAMPTZ AS created_at
FROM read_parquet($listed) r
JOIN released_found f ON f.image = r.image AND f.n = 1
WHERE r.bad IS NULL AND r.row_id BETWEEN $first AND $last
