-- Of captions that were not taken down meanwhile (views _checked: caption_id, tags; _found: caption_id, flag, detail), what they are
-- tagged with now: new tags stand in the place of earlier ones of the same flags.
CREATE OR REPLACE TEMP TABLE checked_now AS
SELECT made.caption_id, made.tags, noted.caption_id IS NOT NULL AS again,
       list_transform(made.tags, lambda one: split_part(one, '=', 1)) AS flags,
       list_concat(
           list_filter(
               coalesce(noted.checks, []),
               lambda old: NOT list_contains(list_transform(made.tags, lambda one: split_part(one, '=', 1)), split_part(old, '=', 1))
           ),
           made.tags
       ) AS checks
FROM _checked made
LEFT JOIN lake.caption_checks noted USING (caption_id)
WHERE made.caption_id IN (SELECT caption_id FROM lake.captions)
