-- What captions are made of, where `captionlake analyze` parsed them: shares of all words in per cent, by universal parts of speech.
SELECT parser, producer, count(*) AS parsed, sum(sentences)::BIGINT AS sentences, sum(len(pairs))::BIGINT AS sentences_with_pair,
    round(sum(sentences) / count(*), 2)::DOUBLE AS sentences_each,
    round(100 * sum(nouns + proper_nouns) / nullif(sum(counted.words), 0), 1)::DOUBLE AS nouns,
    round(100 * sum(adjectives) / nullif(sum(counted.words), 0), 1)::DOUBLE AS adjectives,
    round(100 * sum(verbs + auxiliaries) / nullif(sum(counted.words), 0), 1)::DOUBLE AS verbs,
    round(100 * sum(adverbs) / nullif(sum(counted.words), 0), 1)::DOUBLE AS adverbs,
    round(100 * sum(numerals) / nullif(sum(counted.words), 0), 1)::DOUBLE AS numerals
FROM captions JOIN caption_words AS counted USING (caption_id)
GROUP BY ALL
ORDER BY parser, parsed DESC, producer
