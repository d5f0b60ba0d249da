-- File formats, and how many carry an EXIF turn that a reader must apply.
SELECT format, count(*) AS items, round(100.0 * count(*) / sum(count(*)) OVER (), 2)::DOUBLE AS share_percent,
    count(*) FILTER (orientation <> 1) AS exif_turned
FROM items
GROUP BY format
ORDER BY items DESC, format
