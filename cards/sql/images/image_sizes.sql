-- Sizes of the pictures as a viewer shows them, in pixels, and in bytes as downloaded.
WITH sizes AS (
    SELECT 'width' AS measure, width AS size FROM items
    UNION ALL SELECT 'height', height FROM items
    UNION ALL SELECT 'shorter side', least(width, height) FROM items
    UNION ALL SELECT 'bytes', n_bytes FROM items
)
SELECT measure, min(size) AS smallest, quantile_disc(size, 0.05) AS p5, quantile_disc(size, 0.5) AS median,
    quantile_disc(size, 0.95) AS p95, max(size) AS largest
FROM sizes
GROUP BY measure
ORDER BY array_position(['width', 'height', 'shorter side', 'bytes'], measure)
