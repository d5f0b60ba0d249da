-- Shares of all words in per cent, by universal parts of speech (NOUN, PROPN, ADJ, VERB, AUX, ADV, NUM).
WITH sums AS (
    SELECT producer, nullif(sum(counted.words), 0) AS words, sum(nouns) AS nouns, sum(proper_nouns) AS proper_nouns,
        sum(adjectives) AS adjectives, sum(verbs) AS verbs, sum(auxiliaries) AS auxiliaries, sum(adverbs) AS adverbs,
        sum(numerals) AS numerals
    FROM captions JOIN caption_words AS counted USING (caption_id)
    WHERE parser = $parser AND producer IN ($producers)
    GROUP BY producer
)
SELECT producer, round(100 * nouns / words, 2) AS nouns, round(100 * proper_nouns / words, 2) AS proper_nouns,
    round(100 * (nouns + proper_nouns) / words, 2) AS all_nouns, round(100 * adjectives / words, 2) AS adjectives,
    round(100 * verbs / words, 2) AS verbs, round(100 * auxiliaries / words, 2) AS auxiliaries,
    round(100 * (verbs + auxiliaries) / words, 2) AS all_verbs, round(100 * adverbs / words, 2) AS adverbs,
    round(100 * numerals / words, 2) AS numerals
FROM sums
ORDER BY producer
