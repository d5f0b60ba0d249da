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
marked AS (
    SELECT "group", before || word || behind AS word
    FROM lexicon, (VALUES (''), ('"'), ('('), ('“')) AS b(before),
        (VALUES (''), ('.'), (','), (';'), (':'), ('!'), ('?'), ('"'), (')'), ('”'), ('''s'), ('’s'), ('."'), (',"')) AS e(behind)
),
written AS (
    SELECT "position", ordinal, unnest(string_split(replace(lower("text"), chr(10), ' '), ' ')) AS word FROM captions
),
found AS (
    SELECT "position", ordinal, list(DISTINCT "group") AS "groups" FROM written JOIN marked USING (word) GROUP BY ALL
),
told AS (
    SELECT list_contains("groups", 'women') AS women, list_contains("groups", 'men') AS men,
        unnest(list_prepend('any of these', "groups")) AS "group"
    FROM found
)
SELECT "group", count(*) AS captions, round(100.0 * count(*) / (SELECT count(*) FROM captions), 2)::DOUBLE AS "percent",
    count(*) FILTER (women AND NOT men) AS with_women, count(*) FILTER (men AND NOT women) AS with_men,
    count(*) FILTER (women AND men) AS with_both, count(*) FILTER (NOT women AND NOT men) AS with_neither
FROM told
GROUP BY "group"
ORDER BY "group" = 'any of these' DESC, "group" LIKE '%: %', split_part("group", ':', 1), captions DESC, "group"
