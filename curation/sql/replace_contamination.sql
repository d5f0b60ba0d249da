-- Rows of view _matches in the place of a benchmark's earlier ones: only of pictures that were not taken down meanwhile.
INSERT INTO lake.contamination BY NAME
SELECT DISTINCT image_id, benchmark, item, similarity, model_id
FROM _matches
WHERE image_id IN (SELECT image_id FROM lake.images)
