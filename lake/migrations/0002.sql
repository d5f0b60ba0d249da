-- Version 2: what is measured at the door, quality flags' notes, scores, words, conversations as they came, smaller row groups of texts.
-- Lakes of version 1 have some of it already, for it came bit by bit: hence IF NOT EXISTS. Later migrations need none.
ALTER TABLE images ADD COLUMN IF NOT EXISTS aspect_ratio FLOAT;
ALTER TABLE images ADD COLUMN IF NOT EXISTS is_gray BOOLEAN;
ALTER TABLE images ADD COLUMN IF NOT EXISTS is_blank BOOLEAN;
ALTER TABLE images ADD COLUMN IF NOT EXISTS nsfw_score FLOAT;
ALTER TABLE images ADD COLUMN IF NOT EXISTS alt_language VARCHAR;
ALTER TABLE images ADD COLUMN IF NOT EXISTS verdict JSON;


CREATE TABLE IF NOT EXISTS caption_checks (caption_id VARCHAR NOT NULL, checks VARCHAR[] NOT NULL);

CREATE TABLE IF NOT EXISTS caption_scores (
    caption_id VARCHAR NOT NULL, model_id VARCHAR NOT NULL, score DOUBLE NOT NULL, truncated BOOLEAN NOT NULL
);

CREATE TABLE IF NOT EXISTS caption_words (
    caption_id VARCHAR NOT NULL, parser VARCHAR NOT NULL, sentences INTEGER NOT NULL, tokens INTEGER NOT NULL,
    words INTEGER NOT NULL, nouns INTEGER NOT NULL, proper_nouns INTEGER NOT NULL, adjectives INTEGER NOT NULL,
    verbs INTEGER NOT NULL, auxiliaries INTEGER NOT NULL, adverbs INTEGER NOT NULL, numerals INTEGER NOT NULL,
    pairs VARCHAR[] NOT NULL
);

ALTER TABLE conversations ADD COLUMN IF NOT EXISTS image_paths VARCHAR[];
ALTER TABLE conversations ADD COLUMN IF NOT EXISTS record JSON;

CALL lake.set_option('parquet_row_group_size', 8192, table_name => 'captions');
CALL lake.set_option('parquet_row_group_size', 8192, table_name => 'conversations');
