"""The gate of read-only SQL: what a query may be, decided on its parse tree before anything of it is bound.

A read-only attach is not enough: a SELECT can call functions that delete files, read any file, show the catalog or plan other
SQL. So DuckDB serialises the one statement (it does so for SELECT alone), and the whole tree is walked generically. Every kind of
node, every function and every table must be known here; what is not known is refused.
"""

import json
import re
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from typing import Any

import duckdb

from captionlake.errors import CaptionlakeError
from captionlake.lake.catalog import first_line, quote
from captionlake.lake.gate_functions import FUNCTIONS, TABLE_FUNCTIONS, VOLATILE, VOLATILE_NAMES

ALLOWED = "one SELECT, WITH, FROM, VALUES, DESCRIBE, SUMMARIZE or SHOW TABLES, or EXPLAIN before one of them"
_EXPLAIN = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|/\*(?:[^*]|\*(?!/))*\*/)*explain\b", re.IGNORECASE)
_CTE_NAME = re.compile(r"(?!duckdb_|sqlite_|pg_|pragma_|ducklake_|__)\w+")
_MAX_LENGTH = 200_000  # characters; a query beyond it is a mistake, and parsing is not interruptible

_CLASSES = """
    CONSTANT COLUMN_REF FUNCTION WINDOW OPERATOR CASE CAST COMPARISON CONJUNCTION BETWEEN SUBQUERY STAR LAMBDA LAMBDA_REF
    COLLATE POSITIONAL_REFERENCE DEFAULT TYPE
"""
_KINDS = """
    SELECT_NODE SET_OPERATION_NODE RECURSIVE_CTE_NODE
    BASE_TABLE SUBQUERY JOIN TABLE_FUNCTION EXPRESSION_LIST EMPTY PIVOT SHOW_REF
    LIMIT_MODIFIER LIMIT_PERCENT_MODIFIER ORDER_MODIFIER DISTINCT_MODIFIER
    ORDER_DEFAULT ASCENDING DESCENDING
"""
_EXPRESSIONS = frozenset(_CLASSES.split())
_NODES = frozenset(_KINDS.split())
_UNQUALIFIED = frozenset({("", ""), ("", "main"), ("", "lake"), ("lake", "main")})
_OTHER_CATALOGS = re.compile(r"lake|temp|memory|pg_catalog|information_schema|__ducklake\w*")

Scope = frozenset[str]


def check(connection: duckdb.DuckDBPyConnection, query: str, tables: Collection[str]) -> str:
    """The statement to run, or a refusal. ``tables`` are the lake's tables and views that it may read.

    ``connection`` only parses; nothing of the query is bound or run.
    """
    explained = _EXPLAIN.match(query)
    body = query[explained.end() :] if explained else query
    statements = _statements(connection, body)
    if not statements:
        raise CaptionlakeError(f"the query is empty: give {ALLOWED}")
    if len(statements) != 1:
        raise CaptionlakeError(f"{len(statements)} statements in one query: give one statement, {ALLOWED}")
    _Walk(connection, tables).check(statements[0])
    return f"EXPLAIN {body.lstrip()}" if explained else query


def check_predicate(connection: duckdb.DuckDBPyConnection, where: str, tables: Collection[str]) -> str:
    """A single condition over ``images``, for ``WHERE (…)``, or a refusal; bound on ``connection``, but not run.

    It is parsed as the argument of a function that does not exist. The tree must equal that of the same call on NULL but for the
    argument: text that closes the parenthesis or adds a clause gives another tree. It must do so with and without a line break
    before the closing parenthesis, so that no comment reaches over it. Functions whose value changes from run to run are refused: the
    same lake and recipe must make the same release.
    """
    condition = _argument(connection, where, "\n")
    if (
        _bare(condition) != _bare(_argument(connection, where, ""))
        or condition["class"] == "STAR"
        or condition["alias"]
    ):
        raise _not_a_condition(where)
    _Walk(connection, tables, deterministic=True).check(condition)
    try:
        probe = connection.execute(f"SELECT (\n{where}\n) FROM images WHERE (\n{where}\n) LIMIT 0").description
    except duckdb.Error as error:
        raise CaptionlakeError(
            f"the condition {_shown(where)} does not fit images ({first_line(error)}): look at  captionlake sql 'DESCRIBE images'"
        ) from error
    if str(probe[0][1]) != "BOOLEAN":
        raise CaptionlakeError(
            f"the condition {_shown(where)} is {probe[0][1]}, not true or false: compare it with something"
        )
    return where


def check_order(connection: duckdb.DuckDBPyConnection, order: str, tables: Collection[str]) -> str:
    """What may stand after ORDER BY over ``images``, or a refusal; held to the same as :func:`check_predicate`."""
    found = _ordered(connection, order, "\n")
    if _bare(found) != _bare(_ordered(connection, order, "")):
        raise _not_an_order(order)
    for key in found:
        if key["expression"]["class"] in ("CONSTANT", "STAR"):
            raise CaptionlakeError(f"the order {_shown(order)} has a part that orders nothing: write columns of images")
        _Walk(connection, tables, deterministic=True).check(key)
    try:
        connection.execute(f"SELECT row_number() OVER (ORDER BY {order}\n, source_key) FROM images LIMIT 0")
    except duckdb.Error as error:
        raise CaptionlakeError(
            f"the order {_shown(order)} does not fit images ({first_line(error)}): look at  captionlake sql 'DESCRIBE images'"
        ) from error
    return order


def _ordered(connection: duckdb.DuckDBPyConnection, order: str, end: str) -> list[dict[str, Any]]:
    """The keys of an ORDER BY, if the text is no more than that: the statement's tree must be that of any other order."""
    try:
        found = _statements(connection, f"SELECT NULL FROM images ORDER BY {order}{end}")
    except CaptionlakeError as error:
        raise CaptionlakeError(f"in the order {_shown(order)}: {error}") from error
    plain = _statements(connection, "SELECT NULL FROM images ORDER BY NULL")
    try:
        (modifier,) = found[0]["node"]["modifiers"]
        keys: list[dict[str, Any]] = modifier["orders"]
        modifier["orders"] = plain[0]["node"]["modifiers"][0]["orders"]
    except (IndexError, KeyError, TypeError, ValueError):
        raise _not_an_order(order) from None
    if _bare(found) != _bare(plain):
        raise _not_an_order(order)
    return keys


def _not_an_order(order: str) -> CaptionlakeError:
    return CaptionlakeError(
        f"{_shown(order)} is not an order: write it as after ORDER BY, such as  width * height DESC, source_key"
    )


def _argument(connection: duckdb.DuckDBPyConnection, where: str, end: str) -> dict[str, Any]:
    """The tree of ``where`` as the one argument of a call, if it is no more than that."""
    try:
        found = _statements(connection, f"SELECT captionlake_predicate({where}{end})")
    except CaptionlakeError as error:
        raise CaptionlakeError(f"in the condition {_shown(where)}: {error}") from error
    plain = _statements(connection, "SELECT captionlake_predicate(NULL)")
    try:
        call = found[0]["node"]["select_list"][0]
        (argument,) = call["children"]
        call["children"] = plain[0]["node"]["select_list"][0]["children"]
    except (IndexError, KeyError, TypeError, ValueError):
        raise _not_a_condition(where) from None
    if _bare(found) != _bare(plain):
        raise _not_a_condition(where)
    return dict(argument)


def _statements(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    if "\0" in query:
        raise CaptionlakeError("the query holds a NUL character: leave it out")
    if len(query) > _MAX_LENGTH:
        raise CaptionlakeError(f"the query has {len(query):,} characters: at most {_MAX_LENGTH:,} are taken")
    try:
        # As a literal: a parameter would have duckdb import pandas, which takes longer than the query.
        row = connection.execute(f"SELECT json_serialize_sql({quote(query)})").fetchone()
        parsed = json.loads(row[0]) if row else {}
    except (duckdb.Error, ValueError, RecursionError) as error:
        raise CaptionlakeError(f"the query cannot be read ({first_line(error)}): simplify it") from error
    if parsed.get("error") is not False:
        if parsed.get("error_type") == "not implemented":
            raise CaptionlakeError(f"this is read-only SQL: give {ALLOWED} (and PIVOT with its values, ON x IN (…))")
        message = " ".join(str(parsed.get("error_message", "")).split())[:300]
        raise CaptionlakeError(f"the query does not parse ({message}): give {ALLOWED}")
    statements: list[dict[str, Any]] = parsed["statements"]
    return statements


def _bare(node: Any) -> Any:
    """A tree without the places in the text."""
    if isinstance(node, dict):
        return {key: _bare(value) for key, value in node.items() if key != "query_location"}
    return [_bare(item) for item in node] if isinstance(node, list) else node


def _shown(text: str) -> str:
    short = " ".join(text.split())
    return f"'{short[:80]}…'" if len(short) > 80 else f"'{short}'"


def _not_a_condition(where: str) -> CaptionlakeError:
    return CaptionlakeError(f"{_shown(where)} is not one condition: write it as after WHERE, such as  width >= 224")


def _lower(name: object) -> str:
    """Lower case as DuckDB compares names: ASCII letters alone."""
    return str(name or "").encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")


def _macros(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Names of the macros stored in the lake: in a query they come before DuckDB's functions of the same name."""
    try:  # 5 ms instead of the 25 of DuckDB's list of all functions
        rows = connection.execute("SELECT macro_name FROM __ducklake_metadata_lake.ducklake_macro").fetchall()
    except (duckdb.CatalogException, duckdb.BinderException):  # not a DuckLake
        query = "SELECT function_name FROM duckdb_functions() WHERE database_name <> 'system'"
        rows = connection.execute(query).fetchall()
    return {_lower(name) for (name,) in rows}


class _Walk:
    """One walk over one tree, with the names of WITH that each place sees."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, tables: Collection[str], *, deterministic: bool = False
    ) -> None:
        self.tables = {_lower(name) for name in tables}
        self.deterministic = deterministic
        self.macros = _macros(connection)

    def check(self, root: dict[str, Any]) -> None:
        """Raise at the first thing in the tree that is not known or not allowed."""
        waiting: list[tuple[Any, Scope]] = [(root, frozenset())]
        while waiting:
            node, scope = waiting.pop()
            if isinstance(node, list):
                waiting.extend((item, scope) for item in node)
            elif isinstance(node, dict):
                waiting.extend(self._dict(node, scope))

    def _dict(self, node: dict[str, Any], scope: Scope) -> Iterator[tuple[Any, Scope]]:
        """Check one node; yield its children with what they see."""
        kind = node.get("type")
        skip: set[str] = set()
        if "class" in node:
            self._expression(node)
            if node["class"] == "CONSTANT":
                return
        elif isinstance(kind, str):
            if kind not in _NODES and not kind.endswith("_TYPE_INFO"):
                raise CaptionlakeError(f"{kind} is not known to read-only SQL: write the query without it")
            if kind == "BASE_TABLE":
                self._table(node, scope)
            elif kind == "TABLE_FUNCTION":
                yield self._table_function(node), scope
                skip.add("function")
            elif kind == "SHOW_REF":
                self._show(node)
            elif kind == "PIVOT" and any(pivot.get("pivot_enum") for pivot in node["pivots"]):
                raise CaptionlakeError("PIVOT over a type is refused: name the values, ON x IN (…)")
            elif kind == "RECURSIVE_CTE_NODE":
                own = _lower(node["cte_name"])
                yield node["right"], scope | {own, f"recurring.{own}"}
                skip.add("right")
        if self.deterministic and node.get("sample") is not None:
            raise self._volatile("a sample")
        if "cte_map" in node:
            skip.add("cte_map")
            for entry in node["cte_map"]["map"]:
                name = _lower(entry["key"])
                if not _CTE_NAME.fullmatch(name):
                    raise CaptionlakeError(f"WITH {_shown(entry['key'])} is refused: name it with letters and digits")
                yield entry["value"], scope
                scope = scope | {name}
        for key, value in node.items():
            if key not in skip and isinstance(value, dict | list):
                yield value, scope

    def _expression(self, node: dict[str, Any]) -> None:
        kind = node["class"]
        if kind == "PARAMETER":
            raise CaptionlakeError("the query holds a parameter (? or $name): write the value itself")
        if kind not in _EXPRESSIONS:
            raise CaptionlakeError(f"{kind} is not known to read-only SQL: write the query without it")
        if kind == "STAR" and self.deterministic and node["columns"]:
            raise CaptionlakeError("COLUMNS(…) is many conditions: write one")
        if kind in ("FUNCTION", "WINDOW"):
            self._function(node)
        if self.deterministic and kind == "COLUMN_REF":
            names = [_lower(name) for name in node["column_names"]]
            if len(names) == 1 and names[0] in VOLATILE_NAMES:
                raise self._volatile(names[0])

    def _function(self, node: dict[str, Any]) -> None:
        name = _lower(node["function_name"])
        qualifiers = [_lower(node.get("catalog")), _lower(node.get("schema"))]
        if name not in FUNCTIONS or node.get("export_state"):
            near = get_close_matches(name, FUNCTIONS, n=1, cutoff=0.8)
            hint = f"did you mean {near[0]}?" if near else "use the functions that compute from their arguments alone"
            raise CaptionlakeError(f"the function {_shown(name)} is not allowed in read-only SQL: {hint}")
        if name in self.macros or any(_OTHER_CATALOGS.fullmatch(qualifier) for qualifier in qualifiers):
            raise CaptionlakeError(
                f"a macro of the lake, {_shown(name)}, is not allowed in read-only SQL: write it out"
            )
        if self.deterministic and name in VOLATILE:
            raise self._volatile(name)

    @staticmethod
    def _volatile(name: str) -> CaptionlakeError:
        return CaptionlakeError(
            f"{name} has another value in each run, and a release must come out the same again: write a fixed value"
        )

    def _table_function(self, node: dict[str, Any]) -> list[Any]:
        call = node["function"]
        name = _lower(call.get("function_name"))
        if call.get("class") != "FUNCTION" or name not in TABLE_FUNCTIONS or name in self.macros:
            raise CaptionlakeError(
                f"the table function {_shown(name)} is not allowed in read-only SQL: there are {', '.join(sorted(TABLE_FUNCTIONS))}"
            )
        if _lower(call.get("catalog")) not in ("", "system") or _lower(call.get("schema")) not in ("", "main"):
            raise CaptionlakeError(
                f"the table function {_shown(name)} is not allowed with a catalog or schema: leave it out"
            )
        return [value for value in call.values() if isinstance(value, dict | list)]

    def _table(self, node: dict[str, Any], scope: Scope) -> None:
        catalog, schema, name = (_lower(node[key]) for key in ("catalog_name", "schema_name", "table_name"))
        if not catalog and (f"{schema}.{name}" if schema else name) in scope:
            return
        if (catalog, schema) in _UNQUALIFIED and name in self.tables:
            return
        shown = _shown(".".join(part for part in (catalog, schema, name) if part))
        if re.search(r"[/\\:*?]|\.\w+$", name):
            raise CaptionlakeError(f"{shown} is refused: a path or URL is no table here; {self._known()}")
        near = get_close_matches(name, self.tables, n=1, cutoff=0.75)
        hint = f"did you mean {near[0]}?" if near and near[0] != name else self._known()
        raise CaptionlakeError(f"there is no table {shown} in the lake: {hint}")

    def _known(self) -> str:
        return f"the tables are {', '.join(sorted(self.tables))}"

    @staticmethod
    def _show(node: dict[str, Any]) -> None:
        if node["query"] is not None and node["show_type"] in ("DESCRIBE", "SUMMARY"):
            return  # the query inside is walked like any other
        if node["table_name"] == '"tables"' and not node["catalog_name"] and not node["schema_name"]:
            return
        raise CaptionlakeError("this SHOW is refused: use SHOW TABLES, DESCRIBE table or SUMMARIZE table")
