"""A recipe: the TOML file that says which data set to make. Every problem is reported at once, each with its line.

Relative paths in a recipe are relative to its file; in the ``Recipe`` they are absolute. The text is kept as read.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb

from captionlake.cards.card_config import CardConfig, card_folder
from captionlake.cards.publishing.config import PublishConfig
from captionlake.curation.analysis.figure_config import FigureConfig
from captionlake.curation.decontamination_config import DecontaminateConfig
from captionlake.curation.flags.config import FlagConfig
from captionlake.curation.model import EmbedConfig
from captionlake.curation.select_config import SelectConfig
from captionlake.errors import CaptionlakeError
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.releases.config import ReleaseConfig
from captionlake.models.caption_config import BROUGHT, PROMPTS, CaptionConfig, with_checkpoint
from captionlake.models.running.folder import is_checkpoint
from captionlake.recipe_check import Check, did_you_mean, table_label
from captionlake.recipe_file import DEEPEST, RecipeError, absolute, check_lake, check_numbers, exists, parse, read
from captionlake.recipe_lines import Step, places

_TABLES: dict[str, Any] = {
    "lake": str,
    "ingest": list[IngestConfig],
    "embed": EmbedConfig,
    "decontaminate": DecontaminateConfig,
    "select": SelectConfig,
    "flags": FlagConfig,
    "caption": CaptionConfig,
    "release": ReleaseConfig,
    "analyze": FigureConfig,
    "card": CardConfig,
    "publish": PublishConfig,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A recipe without problems; a step left out is None (``ingest``: empty). ``text.encode()`` is the file's bytes."""

    path: Path
    text: str
    lake: Path
    ingest: list[IngestConfig]
    embed: EmbedConfig | None
    decontaminate: DecontaminateConfig | None
    select: SelectConfig | None
    flags: FlagConfig | None
    caption: CaptionConfig | None
    release: ReleaseConfig | None
    analyze: FigureConfig | None
    card: CardConfig | None
    publish: PublishConfig | None

    def card_folder(self) -> Path:
        """The folder of the card: the one named, or one beside the lake."""
        if self.card is not None and self.card.output is not None:
            return Path(self.card.output)
        if self.release is None:
            raise CaptionlakeError(f"{self.path} has no [release]: a card describes one, add it")
        return card_folder(self.lake, self.release.name, self.release.version)

    def captioned_by(self, checkpoint: str | None, generation: dict[str, Any]) -> "Recipe":
        """The same recipe with captions by a checkpoint, and settings of its generation in place of the recipe's."""
        return replace(self, caption=with_checkpoint(self.caption, checkpoint, generation))

    def figure(self) -> Path:
        """The file of the analysis' figure: the one named, or one in the card's folder."""
        if self.analyze is not None and self.analyze.figure is not None:
            return Path(self.analyze.figure)
        return self.card_folder() / "figures" / "sunburst.png"


def load_recipe(path: Path) -> Recipe:
    """Read and check the recipe in ``path``. Raises ``RecipeError`` with every problem found."""
    path = Path(path)
    text = read(path)
    toml = text.removeprefix("\ufeff")
    check = Check(parse(path, toml), places(toml), _TABLES)
    check_numbers(check)
    if not check.problems():  # a number that no message can hold ends it here
        check.keys()
        found = check.values()
        _check_tables(check)
        _check_ingest(check, path.parent)
        _check_decontaminate(check, path.parent)
        _check_caption(check, path.parent, found.get("caption"))
        check_lake(check, path.parent)
    if check.problems():
        raise RecipeError(path, check.problems())
    return _recipe(path, text, found)


def stored_recipe(label: str, text: str, lake: Path, folder: Path) -> Recipe:
    """The recipe that a release stores, for the lake that it is in; its relative paths are taken from ``folder``.

    Files that it names need not be there. Raises where this version does not understand it.
    """
    toml = text.removeprefix("\ufeff")
    path = folder / f"{label}.toml"
    check = Check(parse(path, toml), places(toml), _TABLES)
    check_numbers(check)
    if not check.problems():
        check.keys()
        found = check.values() | {"lake": str(lake)}
        if "release" not in found:
            check.missing((), "release")
    if check.problems():
        raise CaptionlakeError(
            f"the recipe that {label} stores is none of this version ({check.problems()[0]}): "
            "use the version of captionlake that made it"
        )
    return _recipe(path, text, found)


def _check_ingest(check: Check, folder: Path) -> None:
    """The sources known, and the files on disk."""
    from captionlake.lake.sources import SOURCES  # brings Polars

    for number, table in enumerate(_dicts(check.data.get("ingest"))):
        path = ("ingest", number)
        source, inputs = table.get("source"), table.get("inputs", [])
        if isinstance(source, str) and source not in SOURCES:
            check.add((*path, "source"), f"unknown source `{source}`{did_you_mean(source, SOURCES)}")
        elif isinstance(source, str) and inputs == []:
            check.add((*path, "inputs"), f"no `inputs` in [[ingest]]: {source} takes {SOURCES[source].takes}")
        for key in ("inputs", "archives"):
            for index, name in enumerate(_list(table.get(key))):
                if isinstance(name, str) and name and not exists(absolute(folder, name)):
                    check.add((*path, key, index), f"no such file or folder: {absolute(folder, name)}")
        if isinstance(fetch := table.get("fetch"), dict) and "allow_private_hosts" in fetch:
            check.add((*path, "fetch", "allow_private_hosts"), "`allow_private_hosts` belongs in [[ingest]] itself")


def _check_decontaminate(check: Check, folder: Path) -> None:
    """The benchmarks' files on disk."""
    table = check.data.get("decontaminate")
    for index, name in enumerate(_list(table.get("against")) if isinstance(table, dict) else []):
        if isinstance(name, str) and name and not exists(absolute(folder, name)):
            problem = f"no such file or folder: {absolute(folder, name)}"
            check.add(("decontaminate", "against", index), problem)


def _check_caption(check: Check, folder: Path, caption: CaptionConfig | None) -> None:
    """The checkpoint or the prompts, the price that a budget needs, and the flags that are refused."""
    from captionlake.curation.flags.flag import Flag

    caption = _caption(folder, caption)
    if caption is None:
        return
    for index, name in enumerate(caption.refuse):
        if name not in set(Flag):
            check.add(("caption", "refuse", index), f"unknown flag `{name}`{did_you_mean(name, list(Flag))}")
    if caption.is_checkpoint and not is_checkpoint(caption.captioner):
        check.add(
            ("caption", "captioner"),
            f"`captioner` in [caption]: no such folder: {caption.captioner}: it is a checkpoint's folder, openai:MODEL, for any "
            f"OpenAI-compatible endpoint, or a producer of captions that sources bring: {', '.join(BROUGHT)}",
        )
    for key, look in _looks(caption):
        try:
            look()
        except CaptionlakeError as error:
            for line in getattr(error, "lines", [str(error)]):
                check.add(("caption", key), line)


def _looks(caption: CaptionConfig) -> Iterator[tuple[str, Callable[[], object]]]:
    """What is read to see whether it can be, by the key that names it."""
    teacher = caption.teacher()
    prompts = caption.prompts or (PROMPTS if teacher is not None else None)
    if prompts is not None:
        from captionlake.models.prompts import PromptSet

        yield "prompts", lambda: PromptSet.read(prompts)
    if teacher is not None:
        from captionlake.models.teacher.prices import price_of

        yield "max_cost_usd", lambda: price_of(teacher)


def _check_tables(check: Check) -> None:
    """What one table needs of another, and the condition as the database reads it."""
    data = check.data
    select = data["select"] if isinstance(data.get("select"), dict) else {}
    if "duplicate_threshold" in select and "embed" not in data:
        check.add(("select", "duplicate_threshold"), "`duplicate_threshold` in [select] needs embeddings: add [embed]")
    for table, does in {"analyze": "describes", "card": "describes", "publish": "publishes"}.items():
        if table in data and "release" not in data:
            check.add((table,), f"[{table}] {does} a release: add [release] with name and version")
    _check_sql(check, select)


def _check_sql(check: Check, select: dict[str, Any]) -> None:
    """Conditions and orders as the database reads them, of all rows, of quotas and of their parts."""
    texts: list[tuple[tuple[Step, ...], str]] = []
    tables: list[tuple[tuple[Step, ...], dict[str, Any]]] = [(("select",), select)]
    while tables:
        path, found = tables.pop()
        texts += [((*path, key), found[key]) for key in ("where", "order") if isinstance(found.get(key), str)]
        if len(path) < DEEPEST:
            below = [(key, n, item) for key in ("quota", "part") for n, item in enumerate(_dicts(found.get(key)))]
            tables += [((*path, key, n), item) for key, n, item in below]
    texts = [(path, text) for path, text in texts if text.strip()]
    if not texts:
        return
    with _empty_lake() as connection:
        for path, text in texts:
            if problem := _sql_problem(connection, str(path[-1]), text):
                check.add(path, f"`{path[-1]}` in {table_label(path[:-1])}: {problem}")


def _sql_problem(connection: duckdb.DuckDBPyConnection, key: str, text: str) -> str | None:
    from captionlake.curation.candidates import PREDICATE_TABLES
    from captionlake.lake.gate import check_order, check_predicate

    try:
        (check_order if key == "order" else check_predicate)(connection, text, PREDICATE_TABLES)
    except CaptionlakeError as error:
        return str(error)
    return None


@contextmanager
def _empty_lake() -> Iterator[duckdb.DuckDBPyConnection]:
    """A lake's tables without rows, in memory."""
    from captionlake.lake.catalog import create_schema

    connection = duckdb.connect(
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "enable_external_access": "false",
        }
    )
    try:
        connection.execute("ATTACH ':memory:' AS lake; USE lake")
        create_schema(connection)
        yield connection
    finally:
        connection.close()


def _recipe(path: Path, text: str, found: dict[str, Any]) -> Recipe:
    folder = path.parent
    ingest = [
        replace(
            config,
            inputs=[str(absolute(folder, name)) for name in config.inputs],
            archives=[str(absolute(folder, name)) for name in config.archives],
        )
        for config in found.get("ingest", [])
    ]
    embed, card, against = found.get("embed"), found.get("card"), found.get("decontaminate")
    analyze = found.get("analyze")
    if analyze is not None and analyze.figure is not None:
        analyze = replace(analyze, figure=str(absolute(folder, analyze.figure)))
    if against is not None:
        against = replace(against, against=tuple(str(absolute(folder, name)) for name in against.against))
    if embed is not None and (weights := absolute(folder, embed.pretrained)).is_dir():
        embed = replace(embed, pretrained=str(weights))
    if card is not None and card.output is not None:
        card = replace(card, output=str(absolute(folder, card.output)))
    return Recipe(
        path=path,
        text=text,
        lake=absolute(folder, found["lake"]),
        ingest=ingest,
        embed=embed,
        decontaminate=against,
        select=found.get("select"),
        flags=found.get("flags"),
        caption=_caption(folder, found.get("caption")),
        release=found.get("release"),
        analyze=analyze,
        card=card,
        publish=found.get("publish"),
    )


def _caption(folder: Path, caption: CaptionConfig | None) -> CaptionConfig | None:
    """With checkpoint, prompts and prices as absolute paths; built-in names and those on the Hub stay."""
    if caption is None:
        return None
    if caption.is_checkpoint and (path := absolute(folder, caption.captioner)).parent.is_dir():
        caption = replace(caption, captioner=str(path))
    if caption.prompts is not None and (path := absolute(folder, caption.prompts)).is_file():
        caption = replace(caption, prompts=str(path))
    if caption.endpoint is not None and caption.endpoint.prices is not None:
        prices = absolute(folder, str(caption.endpoint.prices))
        caption = replace(caption, endpoint=replace(caption.endpoint, prices=prices))
    return caption


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    yield from (item if isinstance(item, dict) else {} for item in _list(value))
