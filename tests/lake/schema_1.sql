-- Schema version 1. DuckLake has no keys: uniqueness is an anti-join inside the writing transaction.
CREATE TABLE lake_info (schema_version INTEGER NOT NULL, created_at TIMESTAMPTZ NOT NULL, created_by VARCHAR NOT NULL);

CREATE TABLE sources (
    source VARCHAR NOT NULL, collection VARCHAR NOT NULL, title VARCHAR, homepage VARCHAR, license VARCHAR,
    license_url VARCHAR, redistribute VARCHAR NOT NULL, citation VARCHAR
);

CREATE TABLE images (
    source VARCHAR NOT NULL, source_key VARCHAR NOT NULL, collection VARCHAR NOT NULL, subset VARCHAR,
    image_id VARCHAR NOT NULL, url VARCHAR, archive VARCHAR, member VARCHAR, license VARCHAR, author VARCHAR,
    width INTEGER NOT NULL, height INTEGER NOT NULL, format VARCHAR NOT NULL, orientation INTEGER NOT NULL,
    n_bytes BIGINT NOT NULL, phash UBIGINT NOT NULL, shard VARCHAR NOT NULL, "row" INTEGER NOT NULL, "offset" BIGINT NOT NULL,
    meta JSON, ingested_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE fetch_failures (
    source VARCHAR NOT NULL, source_key VARCHAR NOT NULL, collection VARCHAR NOT NULL, subset VARCHAR, url VARCHAR,
    archive VARCHAR, member VARCHAR, reason VARCHAR NOT NULL, detail VARCHAR, attempts INTEGER NOT NULL,
    failed_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE embeddings (image_id VARCHAR NOT NULL, model_id VARCHAR NOT NULL, vector FLOAT[] NOT NULL);

CREATE TABLE similar_pairs (
    image_id VARCHAR NOT NULL, other_id VARCHAR NOT NULL, model_id VARCHAR NOT NULL, similarity DOUBLE NOT NULL,
    method VARCHAR NOT NULL
);

CREATE TABLE contamination (
    image_id VARCHAR NOT NULL, benchmark VARCHAR NOT NULL, item VARCHAR NOT NULL, similarity DOUBLE, model_id VARCHAR
);

CREATE TABLE captions (
    caption_id VARCHAR NOT NULL, image_id VARCHAR NOT NULL, source VARCHAR, source_key VARCHAR, kind VARCHAR NOT NULL,
    producer VARCHAR NOT NULL, producer_revision VARCHAR, prompt_id VARCHAR, prompt_sha256 VARCHAR, "text" VARCHAR NOT NULL,
    chars INTEGER NOT NULL, words INTEGER NOT NULL, params JSON, input_tokens BIGINT, output_tokens BIGINT,
    cost_usd DOUBLE, finish_reason VARCHAR, license VARCHAR, parent_id VARCHAR, created_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE caption_flags (caption_id VARCHAR NOT NULL, flag VARCHAR NOT NULL, detail VARCHAR);

CREATE TABLE conversations (
    conversation_id VARCHAR NOT NULL, image_ids VARCHAR[] NOT NULL, turns JSON NOT NULL, origin VARCHAR, caption_id VARCHAR
);

CREATE TABLE releases (
    name VARCHAR NOT NULL, version VARCHAR NOT NULL, kind VARCHAR NOT NULL, snapshot_id BIGINT NOT NULL, recipe VARCHAR NOT NULL,
    recipe_sha256 VARCHAR NOT NULL, content_sha256 VARCHAR NOT NULL, n_items BIGINT NOT NULL, parent VARCHAR,
    state VARCHAR NOT NULL, created_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE release_items (
    name VARCHAR NOT NULL, version VARCHAR NOT NULL, "position" BIGINT NOT NULL, source VARCHAR, source_key VARCHAR,
    image_id VARCHAR, conversation_id VARCHAR, split VARCHAR NOT NULL, row_sha256 VARCHAR NOT NULL
);

CREATE TABLE release_captions (
    name VARCHAR NOT NULL, version VARCHAR NOT NULL, "position" BIGINT NOT NULL, ordinal INTEGER NOT NULL,
    caption_id VARCHAR NOT NULL, role VARCHAR NOT NULL
);

CREATE TABLE exclusions (
    name VARCHAR NOT NULL, version VARCHAR NOT NULL, source VARCHAR NOT NULL, source_key VARCHAR NOT NULL, reason VARCHAR NOT NULL,
    detail VARCHAR, keeper_source VARCHAR, keeper_key VARCHAR, similarity DOUBLE
);

CREATE TABLE takedowns (
    takedown_id VARCHAR NOT NULL, asked VARCHAR NOT NULL, reason VARCHAR NOT NULL, touched JSON, created_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE publications (
    name VARCHAR NOT NULL, version VARCHAR NOT NULL, repo_id VARCHAR NOT NULL, revision VARCHAR NOT NULL, detail JSON,
    created_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE runs (
    run_id VARCHAR NOT NULL, step VARCHAR NOT NULL, target VARCHAR, detail JSON, counts JSON, versions JSON,
    seconds DOUBLE NOT NULL, created_at TIMESTAMPTZ NOT NULL
);
