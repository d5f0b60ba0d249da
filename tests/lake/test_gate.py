"""The gate of read-only SQL: every escape we know is refused and changes nothing; what analysts write passes."""

import re
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.gate import check, check_predicate
from captionlake.lake.gate_functions import FUNCTIONS, TABLE_FUNCTIONS, VOLATILE
from captionlake.lake.query_child import readable

CANARY = "$CANARY"
TABLES = ("images", "captions", "embeddings", "similar_pairs", "sources", "image_bytes")

# Written for a lake with another file beside it: $CANARY is that file, $LAKE the lake's folder.
REFUSED = [
    # statements that are no SELECT, and several at once
    "DROP TABLE images",
    "DELETE FROM images",
    "INSERT INTO sources VALUES (1)",
    "UPDATE images SET width = 1",
    "CREATE TABLE x AS SELECT 1",
    "CREATE TEMP VIEW x AS SELECT 1",
    "CREATE MACRO f(x) AS x",
    "CREATE SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')",
    "ALTER TABLE images ADD COLUMN x INT",
    "TRUNCATE images",
    "MERGE INTO images USING captions ON true WHEN MATCHED THEN DELETE",
    "COPY images TO '$LAKE/data/out.csv'",
    "COPY (SELECT 1) TO '$CANARY'",
    "COPY images FROM '$CANARY'",
    "EXPORT DATABASE '$LAKE/data/x'",
    "IMPORT DATABASE '$LAKE/data/x'",
    "ATTACH '$LAKE/catalog.sqlite' AS m (TYPE sqlite)",
    "DETACH lake",
    "USE memory",
    "SET memory_limit = '100GB'",
    "RESET memory_limit",
    "PRAGMA database_list",
    "PRAGMA enable_profiling",
    "CALL ducklake_cleanup_old_files('lake', cleanup_all => true)",
    "CALL ducklake_expire_snapshots('lake', versions => [1])",
    "LOAD httpfs",
    "INSTALL httpfs",
    "CHECKPOINT",
    "VACUUM",
    "BEGIN",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "COMMENT ON TABLE images IS 'x'",
    "SET VARIABLE x = 1",
    "",
    "   ;",
    "-- nothing",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE images",
    "SELECT 1;;COPY (SELECT 1) TO '$CANARY'",
    "/* SELECT 1 */ DROP TABLE images",
    "SELECT 1 \0; DROP TABLE images",
    "WITH x AS (DELETE FROM images RETURNING *) SELECT * FROM x",
    "SELECT 1 INTO OUTFILE '$CANARY'",
    # EXPLAIN that runs, or that hides another statement
    "EXPLAIN ANALYZE SELECT 1",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '$CANARY'",
    "EXPLAIN COPY (SELECT 1) TO '$CANARY'",
    "EXPLAIN (ANALYZE) COPY (SELECT 1) TO '$CANARY'",
    "EXPLAIN (ANALYZE, FORMAT json) SELECT 1",
    "EXPLAIN /* x */ ANALYZE SELECT 1",
    "EXPLAIN -- x\nANALYZE SELECT 1",
    "EXPLAIN EXPLAIN SELECT 1",
    "EXPLAIN SELECT 1; DROP TABLE images",
    "EXPLAIN SELECT * FROM read_text('$CANARY')",
    "explain delete from images",
    # table functions that read files, the catalog, settings or other SQL, or that change the lake
    "SELECT * FROM ducklake_cleanup_old_files('lake', cleanup_all => true)",
    "SELECT * FROM ducklake_delete_orphaned_files('lake', cleanup_all => true)",
    "SELECT * FROM ducklake_expire_snapshots('lake', versions => [1])",
    "SELECT * FROM ducklake_merge_adjacent_files('lake')",
    "SELECT * FROM ducklake_rewrite_data_files('lake')",
    "SELECT * FROM ducklake_flush_inlined_data('lake')",
    "SELECT * FROM ducklake_add_data_files('lake', 'images', '$CANARY')",
    "SELECT * FROM ducklake_set_option('lake', 'x', 'y')",
    "SELECT * FROM ducklake_list_files('lake', 'images')",
    "SELECT * FROM ducklake_snapshots('lake')",
    "SELECT * FROM ducklake_table_insertions('lake', 'main', 'images', 0, 1)",
    "SELECT * FROM read_text('$CANARY')",
    "SELECT * FROM read_blob('$CANARY')",
    "SELECT * FROM read_csv('$CANARY')",
    "SELECT * FROM read_csv_auto('$CANARY')",
    "SELECT * FROM read_json('$CANARY')",
    "SELECT * FROM read_json_objects('$CANARY')",
    "SELECT * FROM read_ndjson_auto('$CANARY')",
    "SELECT * FROM read_parquet('$LAKE/images/*.parquet')",
    "SELECT * FROM parquet_scan('$LAKE/images/*.parquet')",
    "SELECT * FROM parquet_metadata('$LAKE/images/*.parquet')",
    "SELECT * FROM parquet_schema('$LAKE/images/*.parquet')",
    "SELECT * FROM read_duckdb('$CANARY')",
    "SELECT * FROM sniff_csv('$CANARY')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM sqlite_scan('$LAKE/catalog.sqlite', 'ducklake_table')",
    "SELECT * FROM sqlite_query('__ducklake_metadata_lake', 'SELECT 1')",
    "CALL sqlite_attach('$LAKE/catalog.sqlite')",
    "SELECT * FROM query('SELECT * FROM read_text(''$CANARY'')')",
    "SELECT * FROM query_table('images')",
    "SELECT * FROM query_table(['$CANARY'])",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM duckdb_logs()",
    "SELECT * FROM duckdb_temporary_files()",
    "SELECT * FROM duckdb_variables()",
    "SELECT * FROM which_secret('s3://x', 's3')",
    "SELECT * FROM pragma_table_info('images')",
    "SELECT * FROM pragma_database_size()",
    "SELECT * FROM pragma_user_agent()",
    "SELECT * FROM seq_scan('images')",
    "SELECT * FROM pandas_scan(1)",
    "SELECT * FROM python_map_function(1)",
    "SELECT * FROM arrow_scan(1, 2, 3)",
    "SELECT * FROM checkpoint()",
    "SELECT * FROM force_checkpoint()",
    "SELECT * FROM enable_logging()",
    "SELECT * FROM histogram('images', 'width')",
    "SELECT * FROM system.main.read_text('$CANARY')",
    "SELECT * FROM \"READ_TEXT\"('$CANARY')",
    "SELECT * FROM ReAd_TeXt('$CANARY')",
    "SELECT * FROM read_text/* x */('$CANARY')",
    "SELECT * FROM lake.range(3)",
    "FROM read_text('$CANARY')",
    "TABLE duckdb_settings",
    "SELECT * FROM images, read_text(images.source_key)",
    "SELECT * FROM images, LATERAL (SELECT * FROM read_text('$CANARY'))",
    # a path, a URL or a variable of the program as a table
    "SELECT * FROM '$CANARY'",
    'SELECT * FROM "$CANARY"',
    "SELECT * FROM 'https://example.org/x.parquet'",
    "SELECT * FROM 's3://bucket/x.parquet'",
    "SELECT * FROM 'catalog.sqlite'",
    "SELECT * FROM '$LAKE/data/main/images/*.parquet'",
    "FROM 'x.csv'",
    "DESCRIBE '$CANARY'",
    "SUMMARIZE '$CANARY'",
    "SUMMARIZE SELECT * FROM '$CANARY'",
    "SELECT * FROM connection",
    'SELECT * FROM "images.csv"',
    "SELECT * FROM lake.'$CANARY'",
    # catalogs and system views
    "SELECT * FROM __ducklake_metadata_lake.ducklake_table",
    "SELECT * FROM __ducklake_metadata_lake.main.ducklake_snapshot",
    'SELECT * FROM "__DUCKLAKE_METADATA_LAKE".ducklake_table',
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM lake.information_schema.tables",
    "SELECT * FROM pg_catalog.pg_class",
    "SELECT * FROM pg_class",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM duckdb_settings",
    "SELECT * FROM duckdb_tables",
    "SELECT * FROM duckdb_views",
    "SELECT * FROM system.main.duckdb_views",
    "SELECT * FROM temp.main.image_bytes",
    "SELECT * FROM memory.main.images",
    "SHOW ALL TABLES",
    "SHOW DATABASES",
    "SHOW TABLES FROM __ducklake_metadata_lake",
    "DESCRIBE",
    "DESCRIBE __ducklake_metadata_lake.ducklake_table",
    "SELECT * FROM (SHOW ALL TABLES)",
    "SELECT * FROM (DESCRIBE duckdb_settings)",
    # WITH that gives a forbidden name elsewhere
    "SELECT * FROM (WITH duckdb_settings AS (SELECT 1) SELECT 1), duckdb_settings",
    "SELECT * FROM (WITH x AS (SELECT 1) FROM x), x",
    'WITH "$CANARY" AS (SELECT 1) SELECT * FROM "$CANARY"',
    'WITH "a.csv" AS (FROM "a.csv") SELECT * FROM "a.csv"',
    "WITH x AS (SELECT * FROM x) SELECT * FROM x",
    "WITH x AS (SELECT * FROM y), y AS (SELECT 1) SELECT * FROM x",
    "WITH RECURSIVE t AS (SELECT * FROM t UNION ALL SELECT 1) SELECT * FROM t",
    "WITH x AS (SELECT 1) SELECT * FROM lake.x",
    "WITH sqlite_master AS (SELECT 1) SELECT 1",
    # scalar functions that read outside, plan SQL, or belong to the machinery
    "SELECT getenv('HOME')",
    "SELECT current_setting('temp_directory')",
    "SELECT getvariable('x')",
    "SELECT json_serialize_plan('SELECT * FROM ducklake_cleanup_old_files(''lake'', cleanup_all => true)')",
    "SELECT json_serialize_sql('SELECT 1')",
    "SELECT json_deserialize_sql('{}')",
    "SELECT nextval('s')",
    "SELECT currval('s')",
    "SELECT write_log('x')",
    "SELECT parse_duckdb_log_message('FileSystem', 'x')",
    "SELECT sleep_ms(100000)",
    "SELECT pg_sleep(100000)",
    "SELECT pg_catalog.pg_get_viewdef(1)",
    "SELECT setseed(0.5)",
    "SELECT current_query()",
    "SELECT current_database()",
    "SELECT txid_current()",
    "SELECT version()",
    "SELECT __internal_decompress_string(1)",
    "SELECT finalize('x'::BLOB)",
    "SELECT sum(width) EXPORT_STATE FROM images",
    "SELECT read_text('$CANARY')",
    "SELECT system.main.getenv('HOME')",
    "SELECT lake.main.lower('A')",
    "SELECT lower(getenv('HOME'))",
    "SELECT width.getenv() FROM images",
    "SELECT ('HOME').getenv()",
    "SELECT [getenv(x) FOR x IN ['HOME']]",
    "SELECT list_transform(['HOME'], lambda x: getenv(x))",
    "SELECT list_transform(['HOME'], x -> getenv(x))",
    "SELECT sum(1) FILTER (WHERE getenv('HOME') = '') FROM images",
    "SELECT row_number() OVER (ORDER BY getenv('HOME')) FROM images",
    "SELECT nosuchwindow() OVER () FROM images",
    "SELECT * REPLACE (getenv('HOME') AS width) FROM images",
    "SELECT max(COLUMNS(c -> getenv(c) = '')) FROM images",
    "SELECT * FROM images LIMIT (SELECT count(*) FROM read_text('$CANARY'))",
    "SELECT * FROM images AT (VERSION => (SELECT count(*) FROM read_text('$CANARY')))",
    "SELECT * FROM images AT (VERSION => nextval('x'))",
    "SELECT count(*) FROM images GROUP BY GROUPING SETS ((getenv('x')), ())",
    "SELECT * FROM unnest((SELECT list(content) FROM read_text('$CANARY')))",
    "SELECT CASE WHEN false THEN (SELECT content FROM read_text('$CANARY')) END",
    "SELECT * FROM images ORDER BY getenv('HOME')",
    "VALUES ((SELECT content FROM read_text('$CANARY')))",
    "PIVOT (SELECT * FROM read_text('$CANARY')) ON size IN (1) USING count(*)",
    "PIVOT images ON format USING count(*)",
    "SELECT * FROM (PIVOT images ON format IN (SELECT 'JPEG') USING count(*))",
    "SELECT DISTINCT ON (getenv('HOME')) * FROM images",
    "FROM images SELECT 1 WHERE EXISTS (FROM glob('*'))",
    "SELECT 1 UNION SELECT 2 EXCEPT SELECT size FROM read_text('$CANARY')",
    "SELECT * FROM images JOIN captions ON (SELECT true FROM read_text('$CANARY'))",
    "SELECT * FROM images WINDOW w AS (ORDER BY 1) QUALIFY getenv('x') = ''",
    # parameters, look-alikes and sizes
    "SELECT ?",
    "SELECT $1",
    "SELECT * FROM ıimages",
    "SELECT * FROM \u212amages",
    "SELECT\u00a0*\u00a0FROM\u00a0read_text('$CANARY')",
    "SELECT * FROM ｒead_text('$CANARY')",
    "SELECT * FROM image",
    "SELECT " + "(" * 50_000,
    "SELECT " + "+".join(["1"] * 5_000),
    "SELECT '" + "x" * 200_001 + "'",
]

ALLOWED = [
    "SELECT 1;",
    "SELECT collection, count(*) AS n FROM images GROUP BY collection ORDER BY n DESC",
    "SELECT collection, count(*) FROM lake.main.images GROUP BY ALL HAVING count(*) > 3",
    "FROM images SELECT image_id, width WHERE width > 70 LIMIT 5",
    "FROM captions LIMIT 10% OFFSET 1",
    "TABLE sources",
    "VALUES (1, 'a'), (2, 'b')",
    "SELECT i.source_key, c.text FROM images i JOIN captions c USING (image_id) WHERE contains(lower(c.text), 'tile')",
    "SELECT i.* EXCLUDE (meta) REPLACE (width * 2 AS width) FROM images i LEFT JOIN captions c ON c.image_id = i.image_id",
    "SELECT source_key FROM images i WHERE NOT EXISTS (SELECT 1 FROM captions c WHERE c.image_id = i.image_id)",
    "SELECT *, row_number() OVER (PARTITION BY collection ORDER BY width DESC) AS r FROM images QUALIFY r <= 3",
    "SELECT sum(n_bytes) OVER w, lag(width) OVER w FROM images WINDOW w AS (ORDER BY width ROWS 2 PRECEDING)",
    "WITH big AS (SELECT * FROM images WHERE width > 70), n AS (SELECT count(*) AS n FROM big) SELECT * FROM n",
    "WITH big AS MATERIALIZED (FROM images) SELECT (SELECT count(*) FROM big), (SELECT max(width) FROM big)",
    "WITH RECURSIVE t(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM t WHERE a < 10) SELECT sum(a) FROM t",
    "WITH RECURSIVE t(a, b) USING KEY (a) AS (SELECT 1, 1 UNION SELECT a + 1, (SELECT count(*) FROM recurring.t) "
    "FROM t WHERE a < 5) FROM t",
    "WITH images AS (SELECT 1 AS a) SELECT a FROM Images",
    "SELECT x.a FROM (WITH t AS (SELECT 1 AS a) FROM t) x, (WITH t AS (SELECT 2 AS a) FROM t) y",
    "PIVOT images ON collection IN ('coco', 'web') USING count(*) GROUP BY format",
    "SELECT * FROM images PIVOT (count(*) FOR collection IN ('coco', 'web'))",
    "UNPIVOT (SELECT width, height FROM images) ON width, height",
    "SELECT count(*) FROM images AT (VERSION => 2)",
    "SELECT count(*) FROM lake.images AT (TIMESTAMP => now())",
    "SELECT meta->>'mood', json_extract_string(meta, '$.tags[1]'), (meta->>'mood')::INT + 1 FROM images",
    "SELECT key, value FROM images, json_each(images.meta)",
    "SELECT list(source_key ORDER BY width)[1:3], list_transform([1, 2], lambda x: x + 1), [x * 2 FOR x IN [1] IF x > 1] FROM images",
    "SELECT regexp_extract(text, '(\\d+)', 1)::INT AS n, text LIKE 'a%', text ILIKE '%B%', text GLOB 'a*', text SIMILAR TO 'a.*' "
    "FROM captions ORDER BY n",
    "SELECT strftime(ingested_at, '%Y-%m'), date_trunc('day', ingested_at), extract(year FROM ingested_at) FROM images",
    "DESCRIBE images",
    "SELECT column_name FROM (DESCRIBE images)",
    "DESCRIBE SELECT width / 2 AS half FROM images",
    "SUMMARIZE images",
    "SUMMARIZE SELECT width, height FROM images",
    "SHOW TABLES",
    "EXPLAIN SELECT count(*) FROM images",
    "/* why */ explain -- so\n (SELECT 1)",
    "SELECT CASE WHEN width > height THEN 'wide' ELSE 'tall' END AS shape, count(*) FILTER (WHERE width > 70) FROM images GROUP BY 1",
    "SELECT format, collection, count(*), grouping(format) FROM images GROUP BY ROLLUP (format, collection)",
    "SELECT image_id FROM images UNION SELECT image_id FROM captions EXCEPT SELECT other_id FROM similar_pairs",
    "SELECT DISTINCT ON (collection) collection, width FROM images ORDER BY collection, width DESC",
    "SELECT word, count(*) FROM (SELECT unnest(string_split(text, ' ')) AS word FROM captions) GROUP BY word ORDER BY 2 DESC",
    "SELECT i.range, unnest FROM range(3) i, unnest(['a', 'b'])",
    "SELECT * FROM images USING SAMPLE reservoir(5 ROWS) REPEATABLE (42)",
    "SELECT arg_max(source_key, width), mode(format), median(width), quantile_cont(width, [0.1, 0.9]), histogram(width % 3) FROM images",
    "SELECT coalesce(subset, ''), nullif(format, 'x'), greatest(width, height), width BETWEEN 1 AND 3, width IN (1, 2) FROM images",
    "SELECT COLUMNS('w.*') FROM images",
    "SELECT {'a': 1, 'b': [1, 2]}.a, struct_pack(x := 1).x, MAP {'a': 1}['a'], row(1, 2), [1, 2][1], 'abc'[1:2]",
    "SELECT CAST('1.5' AS DECIMAL(10, 2)), TRY_CAST('x' AS INTEGER), {'a': 1}::STRUCT(a DOUBLE), 'x'::ENUM('x', 'y'), [1]::INT[1]",
    "SELECT trim(BOTH 'x' FROM 'xax'), substring('abc' FROM 2 FOR 1), 2 ** 3, 5 // 2, 'a' || 'b', 'a' COLLATE NOCASE = 'A'",
    "SELECT current_date, now(), age(TIMESTAMP '2020-01-01'), epoch(now()), random() < 1",
    "SELECT b.text FROM images a, LATERAL (SELECT text FROM captions c WHERE c.image_id = a.image_id LIMIT 1) b",
    "SELECT * FROM images ASOF JOIN captions ON images.width >= captions.chars",
    "SELECT * FROM images SEMI JOIN captions USING (image_id)",
    "SELECT list_cosine_similarity(vector, vector), len(vector) FROM embeddings",
    "SELECT c.text.upper().substring(1, 3) FROM captions c",
    "SELECT image_id, octet_length(bytes), sha256(bytes) = image_id FROM image_bytes",
    'SELECT count(*) AS "n; DROP TABLE images" FROM "images" -- a comment; with \'quotes',
    "SELECT $$ read_text('x'); $$, 'SELECT * FROM ''a.csv'''",
]


@pytest.mark.parametrize("query", REFUSED, ids=lambda query: re.sub(r"\W+", "_", query)[:60] or "empty")
def test_refused(query: str, sql_lake: Any, reader: duckdb.DuckDBPyConnection) -> None:
    query = query.replace(CANARY, str(sql_lake.canary)).replace("$LAKE", str(sql_lake.path))
    before = sql_lake.state()
    with pytest.raises(CaptionlakeError) as caught:
        check(reader, query, readable(reader))
    assert "\n" not in str(caught.value) and ": " in str(caught.value)
    assert "canary-7c1e" not in str(caught.value)
    assert sql_lake.state() == before


@pytest.mark.parametrize("query", ALLOWED, ids=lambda query: re.sub(r"\W+", "_", query)[:60])
def test_allowed(query: str, sql_lake: Any, reader: duckdb.DuckDBPyConnection) -> None:
    before = sql_lake.state()
    reader.execute(check(reader, query, readable(reader))).fetchall()
    assert sql_lake.state() == before


def test_a_near_name_is_named(reader: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(CaptionlakeError, match="did you mean captions"):
        check(reader, "SELECT * FROM caption", TABLES)
    with pytest.raises(CaptionlakeError, match="tables are captions, embeddings, image_bytes, images"):
        check(reader, "SELECT * FROM xyz", TABLES)
    with pytest.raises(CaptionlakeError, match="did you mean list_transform"):
        check(reader, "SELECT list_transforn([1], lambda x: x)", TABLES)


@pytest.mark.parametrize("macro", ["lower(x) AS 'made up'", "range(x) AS TABLE SELECT 'made up'"])
def test_a_macro_of_the_lake_does_not_stand_in_for_a_function(macro: str, tmp_path: Path) -> None:
    with Lake.init(tmp_path / "lake") as lake:
        lake.connection.execute(f"CREATE MACRO {macro}")
        query = "SELECT lower('A')" if macro.startswith("lower") else "SELECT * FROM range(3)"
        assert lake.rows(query) == [("made up",)]
        with pytest.raises(CaptionlakeError, match="not allowed"):
            check(lake.connection, query, TABLES)


# The list of functions against DuckDB itself


def test_the_allowed_functions_are_duckdbs_and_compute_from_arguments_alone(reader: duckdb.DuckDBPyConnection) -> None:
    rows = reader.execute(
        "SELECT lower(function_name), list(DISTINCT function_type), bool_or(coalesce(has_side_effects, false)) "
        "FROM duckdb_functions() WHERE database_name = 'system' GROUP BY ALL"
    ).fetchall()
    kinds = {name: set(types) for name, types, _ in rows}
    with_effects = {name for name, _, effects in rows if effects}
    assert {name for name in FUNCTIONS if not kinds.get(name, set()) & {"scalar", "aggregate", "macro"}} == {
        "grouping",  # of the parser
        "unnest",  # a table function that stands in a SELECT list too
    }
    assert {name for name in TABLE_FUNCTIONS if "table" not in kinds[name]} == set()
    # Each of these has been looked at: a new value each time, or an error, and nothing else.
    assert with_effects & FUNCTIONS == {"error", "gen_random_uuid", "random", "uuid", "uuidv4", "uuidv7"}
    assert VOLATILE <= FUNCTIONS


def test_no_system_view_can_be_named_in_with(reader: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT view_name FROM duckdb_views() WHERE internal AND schema_name <> 'information_schema'"
    views = {name for (name,) in reader.execute(query).fetchall()}
    assert len(views) > 20
    for view in views:
        with pytest.raises(CaptionlakeError, match="WITH"):
            check(reader, f"WITH {view} AS (SELECT 1) SELECT 1", TABLES)


# Composed queries: what stands in the middle decides, however deep it is

HARMLESS, FORBIDDEN = (
    "range(3)",
    [
        "read_text('x')",
        "read_csv('x.csv')",
        "glob('*')",
        "ducklake_cleanup_old_files('lake')",
        "sqlite_scan('a', 'b')",
        "query('SELECT 1')",
        "duckdb_settings()",
        "read_parquet(['a', 'b'])",
        "pg_catalog.pg_class",
        "'x.parquet'",
        "__ducklake_metadata_lake.ducklake_table",
    ],
)
AROUND = [  # each takes a table and is a query; in parentheses a query is a table again
    "SELECT * FROM {} t",
    "FROM {} t",
    "SELECT count(*) FROM images, {} t",
    "SELECT 1 FROM images LEFT JOIN {} t ON true",
    "SELECT 1 FROM images, LATERAL (SELECT * FROM {} t) u",
    "WITH w AS (SELECT * FROM {} t) SELECT * FROM w",
    "WITH w AS (SELECT 1), v AS MATERIALIZED (FROM {} t) SELECT 1 FROM w",
    "WITH RECURSIVE r(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM r, {} t WHERE a < 3) SELECT * FROM r",
    "SELECT (SELECT count(*) FROM {} t)",
    "SELECT width FROM images WHERE EXISTS (SELECT 1 FROM {} t)",
    "SELECT width FROM images WHERE width IN (SELECT 1 FROM {} t)",
    "SELECT width FROM images ORDER BY (SELECT count(*) FROM {} t)",
    "SELECT width FROM images LIMIT (SELECT count(*) FROM {} t)",
    "SELECT count(*) FROM images GROUP BY width HAVING (SELECT true FROM {} t)",
    "SELECT width FROM images QUALIFY row_number() OVER () = (SELECT count(*) FROM {} t)",
    "SELECT sum((SELECT 1 FROM {} t)) FILTER (WHERE (SELECT true FROM {} u)) OVER () FROM images",
    "SELECT CASE WHEN (SELECT true FROM {} t) THEN 1 END",
    "SELECT list_transform([1], lambda x: x + (SELECT count(*) FROM {} t))",
    "SELECT {{'a': [(SELECT count(*) FROM {} t)]}}",
    "SELECT CAST((SELECT 1 FROM {} t) AS VARCHAR)",
    "SELECT coalesce(NULL, (SELECT 1 FROM {} t)) BETWEEN 1 AND 2",
    "SELECT * FROM unnest((SELECT [1] FROM {} t))",
    "VALUES ((SELECT 1 FROM {} t))",
    "SELECT 1 UNION ALL SELECT 2 FROM {} t",
    "(SELECT 1 EXCEPT SELECT 2 FROM {} t) INTERSECT SELECT 3",
    "SELECT * FROM (PIVOT {} ON range IN (1, 2) USING count(*))",
    "SELECT * FROM (SUMMARIZE SELECT * FROM {} t)",
    "DESCRIBE SELECT * FROM {} t",
    "SELECT * REPLACE ((SELECT 1 FROM {} t) AS width) FROM images",
    "SELECT DISTINCT ON ((SELECT 1 FROM {} t)) width FROM images",
    "SELECT * FROM images AT (VERSION => (SELECT 1 FROM {} t))",
    "SELECT * FROM {} t USING SAMPLE 3",
]


def _nest(layers: list[str], middle: str) -> str:
    table = middle
    for layer in layers[:-1]:
        table = f"({layer.format(table, table) if layer.count('{}') == 2 else layer.format(table)})"
    last = layers[-1]
    return last.format(table, table) if last.count("{}") == 2 else last.format(table)


@given(
    layers=st.lists(st.sampled_from(AROUND), min_size=1, max_size=5),
    forbidden=st.sampled_from(FORBIDDEN),
    explain=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_a_forbidden_table_is_found_at_any_depth(
    layers: list[str], forbidden: str, explain: bool, reader: duckdb.DuckDBPyConnection
) -> None:
    prefix = "EXPLAIN " if explain else ""
    check(reader, prefix + _nest(layers, HARMLESS), TABLES)  # the shape itself is allowed
    with pytest.raises(CaptionlakeError, match=r"not allowed|no table|is refused"):
        check(reader, prefix + _nest(layers, forbidden), TABLES)


# The condition of a recipe

GOOD_CONDITIONS = [
    "width >= 224 AND height >= 224",
    "width > 1 OR (subset IS NULL)",
    "EXISTS (SELECT 1 FROM captions c WHERE c.image_id = images.image_id)",
    "meta->>'mood' = '3'",
    "true",
    "/* a */ width > 1 /* b */",
    "width > 1 -- wide\n AND height > 1",
    "license IN ('a)', '-- b', '/*')",
    "CASE WHEN (1=1) THEN width > 3 END",
]
BAD_CONDITIONS = [
    "",
    "a b",
    "width",
    "1=1) OR (1=1",
    "width > 224) AND NOT (false",
    "true) = (true",
    "true) IS NOT NULL AND (true",
    "1=1) UNION SELECT (1",
    "1=1) FROM images WHERE (1",
    "1) ; DROP TABLE images; SELECT (1",
    "1=1) -- ",
    "1=1) x -- ",
    "1=1 -- )",
    "true -- fine so far",
    "1=1 /*",
    "1=1) /* ",
    "*/ 1=1",
    "1).captionlake_predicate(2",
    "1).captionlake_predicate(",
    "captionlake_predicate(true)",
    "width > 1, height > 2",
    "DISTINCT width > 1",
    "width > 1 ORDER BY width",
    "true) FILTER (WHERE true",
    "true) OVER (",
    "true) WITHIN GROUP (ORDER BY width",
    "true) EXPORT_STATE --",
    "x := true",
    "*",
    "COLUMNS(*) IS NULL",
    "random() > 0.5",
    "now() > ingested_at",
    "current_date > DATE '2020-01-01'",
    "uuid() > 'a'",
    "EXISTS (FROM captions USING SAMPLE 1)",
    "count(*) > 1",
    "row_number() OVER () < 3",
    "nope > 1",
    "EXISTS (FROM read_text('/etc/hostname'))",
    "EXISTS (FROM 'a.csv')",
    "EXISTS (FROM sources)",
    "getenv('HOME') = ''",
    "$1",
    "width > 1;",
    "true \0",
]


@pytest.mark.parametrize("where", GOOD_CONDITIONS)
def test_a_condition(where: str, reader: duckdb.DuckDBPyConnection) -> None:
    assert check_predicate(reader, where, ("images", "captions")) == where
    assert reader.execute(f"SELECT 1 FROM images WHERE ({where})").fetchall() is not None


@pytest.mark.parametrize("where", BAD_CONDITIONS)
def test_not_a_condition(where: str, reader: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(CaptionlakeError) as caught:
        check_predicate(reader, where, ("images", "captions"))
    assert "\n" not in str(caught.value)


PIECES = st.sampled_from(
    [
        "true",
        "width > 1",
        "(",
        ")",
        " AND ",
        " OR ",
        ",",
        "--",
        "/*",
        "*/",
        "\n",
        " x",
        "'",
        '"',
        "$$",
        ";",
        " UNION SELECT ",
        "1",
        ".",
    ]
)


@given(pieces=st.lists(PIECES, min_size=1, max_size=9))
@settings(max_examples=400, deadline=None)
def test_a_condition_stays_inside_its_parentheses(pieces: list[str], reader: duckdb.DuckDBPyConnection) -> None:
    """Whatever is taken, `false AND (…)` is never true: nothing in it reached past the parentheses."""
    where = "".join(pieces)
    try:
        check_predicate(reader, where, ("images",))
    except CaptionlakeError:
        return
    assert reader.execute(f"SELECT count(*) FROM images WHERE false AND ({where})").fetchall() == [(0,)]
    assert reader.execute(f"SELECT count(*) FROM images WHERE true OR ({where}) OR false").fetchall() == [(28,)]
