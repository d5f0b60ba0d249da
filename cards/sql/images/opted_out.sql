-- Listed pictures that are not in the lake because their host refuses such use, by how it says so.
SELECT collection, source,
    CASE WHEN detail LIKE 'robots.txt%' THEN 'robots.txt' WHEN detail LIKE 'X-Robots-Tag%' THEN 'X-Robots-Tag'
        WHEN detail ILIKE '%tdm%' THEN 'TDM reservation' ELSE 'other' END AS said_by,
    count(*) AS "rows"
FROM fetch_failures
WHERE reason = 'opted_out'
GROUP BY ALL
ORDER BY collection, source, "rows" DESC, said_by
