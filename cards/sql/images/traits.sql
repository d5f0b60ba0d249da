-- What was measured of the pictures themselves. nsfw: the score of a classifier, from 0 to 1, where one was run.
SELECT collection, count(*) AS items, count(is_gray) AS measured, count(*) FILTER (is_gray) AS gray, count(*) FILTER (is_blank) AS blank,
    count(nsfw_score) AS nsfw_measured, count(*) FILTER (nsfw_score >= 0.5) AS nsfw_from_50, count(*) FILTER (nsfw_score >= 0.8) AS nsfw_from_80,
    round(quantile_disc(nsfw_score, 0.5), 4)::DOUBLE AS nsfw_median, round(max(nsfw_score), 4)::DOUBLE AS nsfw_highest
FROM items
GROUP BY collection
ORDER BY collection
