-- Authors named by the sources, for each collection.
SELECT collection, count(DISTINCT author) AS authors, count(author) AS items_with_author,
    count(*) - count(author) AS items_without_author
FROM items
GROUP BY collection
ORDER BY collection
