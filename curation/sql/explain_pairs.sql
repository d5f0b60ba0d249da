-- The pairs of one picture, and those that it shares with pictures of its very vector. Parameter: image_id.
WITH RECURSIVE same AS (
    SELECT $1::VARCHAR AS image_id
    UNION
    SELECT CASE p.image_id WHEN s.image_id THEN p.other_id ELSE p.image_id END
    FROM same s JOIN similar_pairs p ON p.method = 'same_vector' AND s.image_id IN (p.image_id, p.other_id)
), paired AS (
    SELECT CASE WHEN p.image_id IN (FROM same) THEN p.other_id ELSE p.image_id END AS image_id, similarity, method, model_id
    FROM similar_pairs p WHERE p.method <> 'same_vector' AND (p.image_id IN (FROM same) OR p.other_id IN (FROM same))
), found AS (
    FROM paired
    UNION ALL
    SELECT s.image_id, 1.0, 'same_vector', (SELECT min(model_id) FROM similar_pairs WHERE method = 'same_vector') FROM same s
), others AS (
    SELECT f.image_id, f.similarity, f.method, f.model_id FROM found f
    UNION
    SELECT CASE p.image_id WHEN f.image_id THEN p.other_id ELSE p.image_id END, f.similarity, f.method, f.model_id
    FROM paired f JOIN similar_pairs p ON p.method = 'same_vector' AND f.image_id IN (p.image_id, p.other_id)
)
SELECT o.image_id, max(o.similarity) AS similarity, any_value(o.method) AS method, any_value(o.model_id) AS model_id
FROM others o WHERE o.image_id <> $1 GROUP BY o.image_id
