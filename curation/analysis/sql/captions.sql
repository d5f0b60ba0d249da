-- How many captions are asked for; a caption that several items have is one.
SELECT count(DISTINCT caption_id) AS captions FROM captions WHERE producer IN ($producers) AND "text" IS NOT NULL
