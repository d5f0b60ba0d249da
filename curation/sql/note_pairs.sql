-- The note that all pairs of a set of pictures are stored. Parameters: run_id, step, target (model), detail, counts, versions, seconds.
INSERT INTO lake.runs BY NAME
SELECT ? AS run_id, ? AS step, ? AS target, ? AS detail, ? AS counts, ? AS versions, ? AS seconds, now() AS created_at
