-- Languages of the alternative texts that came with pictures, as py3langid tells them; null where there was none.
SELECT alt_language AS language, count(*) AS items
FROM items
WHERE alt_language IS NOT NULL
GROUP BY ALL
ORDER BY items DESC, language
LIMIT 30
