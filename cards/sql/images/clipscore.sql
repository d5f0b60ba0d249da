-- CLIPScore (Hessel et al. 2021, arXiv 2104.08718: 2.5 times the cosine of picture and caption, not below 0), where it was measured.
SELECT model_id AS model, kind, producer, count(*) AS captions, round(avg(score), 4)::DOUBLE AS mean,
    round(quantile_disc(score, 0.05), 4)::DOUBLE AS p5, round(quantile_disc(score, 0.5), 4)::DOUBLE AS median,
    round(quantile_disc(score, 0.95), 4)::DOUBLE AS p95, count(*) FILTER (truncated) AS "truncated"
FROM captions JOIN caption_scores USING (caption_id)
GROUP BY ALL
ORDER BY model, captions DESC, kind, producer
