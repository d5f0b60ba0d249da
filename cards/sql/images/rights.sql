-- What hosts said of the use of the release's pictures when they were fetched. Pictures out of archives and folders have no host.
SELECT collection, source, count(*) AS items,
    count(*) FILTER (verdict->>'robots' = 'allowed') AS robots_allowed,
    count(*) FILTER (verdict->>'robots' = 'absent') AS robots_absent,
    count(*) FILTER (verdict->>'robots' = 'ignored') AS robots_not_asked,
    count(verdict->>'x_robots_tag') AS x_robots_tag,
    count(verdict->>'tdm_reservation') AS tdm_reservation,
    count(*) FILTER (verdict->>'x_robots_tag' LIKE 'ignored:%' OR (verdict->>'tdm_reservation') LIKE 'ignored:%') AS refusal_overridden,
    count(*) FILTER (verdict IS NULL) AS no_host
FROM items
GROUP BY ALL
ORDER BY collection, source
