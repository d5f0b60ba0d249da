-- The sources that the release draws on, as they describe themselves.
SELECT source, any_value(collection) AS collection, any_value(title) AS title, any_value(homepage) AS homepage,
    any_value(license) AS licence, any_value(license_url) AS licence_url, any_value(redistribute) AS redistribute,
    any_value(citation) AS citation
FROM sources
WHERE source IN (SELECT source FROM items)
GROUP BY source
ORDER BY collection, source
