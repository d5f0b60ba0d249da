-- The captions by what wrote them.
SELECT kind, producer, producer_revision, license AS licence, count(*) AS captions, count(DISTINCT "position") AS items
FROM captions
GROUP BY ALL
ORDER BY captions DESC, kind, producer, producer_revision NULLS FIRST, licence NULLS LAST
