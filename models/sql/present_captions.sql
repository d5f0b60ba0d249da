-- Of the ids in view _wanted those that are captions already, with what they cost.
SELECT c.caption_id, c.cost_usd
FROM lake.captions c
SEMI JOIN _wanted USING (caption_id)
