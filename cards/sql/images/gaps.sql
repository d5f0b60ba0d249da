-- What is missing of single items.
SELECT
    count(*) FILTER ("position" NOT IN (SELECT "position" FROM captions)) AS without_caption,
    count(*) FILTER (coalesce(license, source_license) IS NULL) AS without_licence,
    count(*) FILTER (author IS NULL) AS without_author,
    count(*) FILTER (url IS NULL) AS without_url,
    count(*) FILTER (redistribute = 'bytes') AS bytes_may_be_passed_on,
    count(*) FILTER (redistribute = 'urls') AS only_urls_may_be_passed_on,
    count(*) FILTER (coalesce(redistribute, 'none') NOT IN ('bytes', 'urls')) AS nothing_may_be_passed_on
FROM items
LEFT JOIN (
    SELECT source, any_value(license) AS source_license, any_value(redistribute) AS redistribute FROM sources GROUP BY ALL
) USING (source)
