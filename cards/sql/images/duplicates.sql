-- Who displaced whom among near-duplicates. identical: the very same bytes.
SELECT
    displaced.collection AS displaced,
    keeper.collection AS keeper,
    count(*) AS pictures,
    count(*) FILTER (displaced.image_id = keeper.image_id) AS identical,
    round(min(exclusions.similarity), 4)::DOUBLE AS min_similarity,
    round(max(exclusions.similarity), 4)::DOUBLE AS max_similarity
FROM exclusions
LEFT JOIN images displaced ON displaced.source = exclusions.source AND displaced.source_key = exclusions.source_key
LEFT JOIN images keeper ON keeper.source = exclusions.keeper_source AND keeper.source_key = exclusions.keeper_key
WHERE exclusions.reason = 'duplicate'
GROUP BY ALL
ORDER BY pictures DESC, displaced NULLS LAST, keeper NULLS LAST
