-- Every row of images at the pinned snapshot that is not in the release, with the reason.
CREATE OR REPLACE TEMP VIEW exclusions AS
SELECT excluded.*
FROM lake.main.exclusions AS excluded
WHERE excluded.name = {name} AND excluded.version = {version};
