-- Words for people in the captions: in how many captions a word of each group stands, and in how many of these beside a word for women
-- alone, for men alone, for both, for neither. Words are English, in upper or lower case, between spaces or line ends, with no mark, or one,
-- before or behind. This counts words, not people.
WITH lexicon AS (
    SELECT "group", unnest(words) AS word FROM (VALUES
        ('women', ['woman', 'women', 'lady', 'ladies', 'girl', 'girls', 'female', 'females', 'mother', 'mom', 'grandmother', 'daughter',
            'sister', 'wife', 'bride', 'actress', 'queen', 'princess', 'waitress', 'policewoman', 'businesswoman', 'she', 'her', 'hers',
            'herself']),
        ('men', ['man', 'men', 'gentleman', 'gentlemen', 'guy', 'guys', 'boy', 'boys', 'male', 'males', 'father', 'dad', 'grandfather',
            'son', 'brother', 'husband', 'groom', 'actor', 'king', 'prince', 'waiter', 'policeman', 'businessman', 'he', 'his', 'him',
            'himself']),
        ('people without a gender', ['person', 'persons', 'people', 'individual', 'individuals', 'human', 'humans', 'someone', 'crowd']),
        ('children', ['child', 'children', 'kid', 'kids', 'baby', 'babies', 'infant', 'toddler', 'toddlers', 'boy', 'boys', 'girl', 'girls']),
        ('the old', ['elderly', 'senior', 'seniors', 'grandmother', 'grandfather', 'grandparents']),
        ('skin, disability: looks', ['skin', 'skinned', 'complexion', 'wheelchair', 'hijab', 'turban']),
        ('origin: Africa', ['african', 'africans']), ('origin: America', ['american', 'americans', 'hispanic', 'latino', 'latina']),
        ('origin: Asia', ['asian', 'asians', 'chinese', 'japanese', 'korean', 'indian', 'arab']),
        ('origin: Europe', ['european', 'europeans', 'caucasian', 'british', 'french', 'german', 'italian']),
        ('occupation: artist, musician', ['artist', 'artists', 'musician', 'musicians', 'singer', 'singers', 'guitarist', 'dancer', 'dancers']),
        ('occupation: athlete, player', ['athlete', 'athletes', 'player', 'players', 'surfer', 'skier', 'skateboarder', 'snowboarder', 'batter',
            'pitcher', 'cyclist']),
        ('occupation: business', ['businessman', 'businesswoman', 'businessmen', 'ceo', 'executive', 'manager']),
        ('occupation: cook', ['chef', 'chefs', 'cook', 'baker']), ('occupation: cleaner, maid', ['cleaner', 'maid', 'housekeeper']),
        ('occupation: doctor', ['doctor', 'doctors', 'physician', 'surgeon', 'dentist']), ('occupation: nurse', ['nurse', 'nurses']),
        ('occupation: driver, pilot', ['driver', 'drivers', 'pilot', 'pilots', 'motorcyclist']),
        ('occupation: engineer, scientist', ['engineer', 'engineers', 'scientist', 'scientists', 'programmer']),
        ('occupation: farmer', ['farmer', 'farmers']), ('occupation: firefighter', ['firefighter', 'firefighters', 'fireman']),
        ('occupation: lawyer, judge', ['lawyer', 'lawyers', 'judge', 'judges']),
        ('occupation: police', ['police', 'policeman', 'policewoman', 'officer', 'officers']),
        ('occupation: politician', ['politician', 'politicians', 'president', 'minister', 'senator']),
        ('occupation: secretary', ['secretary', 'receptionist']), ('occupation: soldier', ['soldier', 'soldiers', 'sailor', 'marine']),
        ('occupation: student', ['student', 'students']), ('occupation: teacher', ['teacher', 'teachers', 'professor']),
        ('occupation: waiter', ['waiter', 'waitress', 'bartender', 'server']), ('occupation: worker', ['worker', 'workers', 'construction'])
    ) AS lists("group", words)
),
numbered AS (SELECT "group", 1::BIGINT << row_number() OVER (ORDER BY "group") AS bit FROM (SELECT DISTINCT "group" FROM lexicon)),
marked AS (
    SELECT before || word || behind AS word, bit_or(bit) AS bits
    FROM lexicon JOIN numbered USING ("group"), (VALUES (''), ('"'), ('('), ('“')) AS b(before),
        (VALUES (''), ('.'), (','), (';'), (':'), ('!'), ('?'), ('"'), (')'), ('”'), ('''s'), ('’s'), ('."'), (',"')) AS e(behind)
    GROUP BY ALL
),
written AS (
    SELECT "position", ordinal, unnest(string_split(replace(lower("text"), chr(10), ' '), ' ')) AS word FROM captions
),
found AS (SELECT bit_or(bits) AS bits FROM written JOIN marked USING (word) GROUP BY "position", ordinal),
alike AS (SELECT bits, count(*) AS captions FROM found GROUP BY bits), -- few: captions with words of the same groups
told AS (
    SELECT coalesce("group", 'any of these') AS "group", captions,
        bits & (SELECT bit FROM numbered WHERE "group" = 'women') <> 0 AS women,
        bits & (SELECT bit FROM numbered WHERE "group" = 'men') <> 0 AS men
    FROM alike JOIN (FROM numbered UNION ALL SELECT NULL, -1) ON bits & bit <> 0
)
SELECT "group", sum(captions)::BIGINT AS captions,
    round(100.0 * sum(captions) / (SELECT count(*) FROM captions), 2)::DOUBLE AS "percent",
    coalesce(sum(captions) FILTER (women AND NOT men), 0)::BIGINT AS with_women,
    coalesce(sum(captions) FILTER (men AND NOT women), 0)::BIGINT AS with_men,
    coalesce(sum(captions) FILTER (women AND men), 0)::BIGINT AS with_both,
    coalesce(sum(captions) FILTER (NOT women AND NOT men), 0)::BIGINT AS with_neither
FROM told
GROUP BY "group"
ORDER BY "group" = 'any of these' DESC, "group" LIKE '%: %', split_part("group", ':', 1), captions DESC, "group"
