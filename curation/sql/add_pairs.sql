-- Pairs of the file $pairs that are new, of pictures that are among $alive. Parameter: model.
INSERT INTO lake.similar_pairs BY NAME
WITH
    given AS (SELECT ?::VARCHAR AS model_id),
    alive AS ($alive)
SELECT new.image_id, new.other_id, given.model_id, new.similarity, new.method
FROM read_parquet($pairs) new, given
WHERE new.image_id IN (FROM alive) AND new.other_id IN (FROM alive) AND NOT EXISTS (
    SELECT 1 FROM lake.similar_pairs old
    WHERE old.image_id = new.image_id AND old.other_id = new.other_id
      AND old.model_id = given.model_id AND old.method = new.method
)
