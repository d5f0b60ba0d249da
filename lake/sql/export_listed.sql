-- The position of each result row of export_rows.sql.
SELECT r.position
FROM (SELECT position FROM lake.release_captions WHERE name = $name AND version = $version) rc
RIGHT JOIN (SELECT position FROM lake.release_items
            WHERE name = $name AND version = $version AND split = $split AND source IS NOT NULL) r ON rc.position = r.position
