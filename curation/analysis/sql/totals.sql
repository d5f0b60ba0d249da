-- What was counted of each producer's captions. Words are tokens but punctuation, symbols and spaces.
SELECT producer, count(*) AS captions, sum(chars)::BIGINT AS characters, sum(tokens)::BIGINT AS tokens, sum(counted.words)::BIGINT AS words,
    sum(sentences)::BIGINT AS sentences, sum(len(pairs))::BIGINT AS sentences_with_pair,
    round(sum(sentences) / count(*), 2) AS sentences_per_caption
FROM captions JOIN caption_words AS counted USING (caption_id)
WHERE parser = $parser AND producer IN ($producers)
GROUP BY producer
ORDER BY captions DESC, producer
