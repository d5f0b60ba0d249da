-- Replies of view _captions into captions: each key once, and none of a picture that has left the lake.
INSERT INTO captions BY NAME
SELECT new.* REPLACE (new.params::JSON AS params)
FROM _captions new
WHERE NOT EXISTS (SELECT 1 FROM captions old WHERE old.caption_id = new.caption_id)
  AND EXISTS (SELECT 1 FROM images i WHERE i.image_id = new.image_id)
QUALIFY row_number() OVER (PARTITION BY new.caption_id ORDER BY new.created_at) = 1
