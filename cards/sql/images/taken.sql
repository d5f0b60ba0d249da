-- What was taken from each collection as a whole (whole_collection) and from each of its subsets.
SELECT collection, subset, grouping(subset) = 1 AS whole_collection, count(*) AS items
FROM items
GROUP BY ROLLUP (collection, subset)
HAVING grouping(collection) = 0
ORDER BY collection, whole_collection DESC, subset NULLS FIRST
