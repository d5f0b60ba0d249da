"""``flag_captions``: check the captions that were not checked so before, and keep what is found in ``caption_flags``.

What was checked is noted in ``caption_checks``: a row a caption, with a tag for each flag that it was looked at for, in the same
transaction as the flags found. A tag names the checker's version and what it read of the configuration; for the two flags of the source
also the annotations, and for ``leaked_prompt`` whether the prompt was known. So what is pending is a query, a killed run goes on
after its last commit, and where any of this has changed, a caption is checked again and its flags of that checker are replaced.
``clipscore_outlier`` depends on all scores: it is brought up to date by each call.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from itertools import islice

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from captionlake.curation.flags.checking import SOURCE_FLAGS, tag
from captionlake.curation.flags.clipscore_outlier import flag_outliers
from captionlake.curation.flags.config import FlagConfig
from captionlake.curation.flags.crew import Crew
from captionlake.curation.flags.flag import Flag
from captionlake.curation.flags.job import Row
from captionlake.lake import Lake
from captionlake.lake.catalog import quote
from captionlake.lake.progress import progress
from captionlake.lake.runs import note_run

COMMIT_EVERY = 10_000  # captions; what a kill can lose
_TASK = 500  # captions that a process is given at a time
_CHECKED = pa.schema([("caption_id", pa.string()), ("tags", pa.list_(pa.string()))])
_FOUND = pa.schema([("caption_id", pa.string()), ("flag", pa.string()), ("detail", pa.string())])
_PROMPTS = pa.schema([("prompt_sha256", pa.string()), ("text", pa.string())])
_NO_ANNOTATION = "SELECT NULL::VARCHAR AS image_id, NULL::VARCHAR[] AS objects, NULL::VARCHAR[] AS ocr LIMIT 0"


@dataclass(frozen=True, kw_only=True, slots=True)
class FlagCounts:
    """Of ``captions`` asked about, ``checked`` now for one flag or more, the others before.

    ``found``: by flag, how many of the captions checked now have it; of ``clipscore_outlier``, how many have it at all.
    """

    captions: int
    checked: int
    found: dict[str, int]
    seconds: float


def flag_captions(
    lake: Lake,
    config: FlagConfig,
    *,
    producer: str | None = None,
    prompts: Mapping[str, str] | None = None,
    processes: int | None = None,
) -> FlagCounts:
    """Check all captions, or those by one producer, for the configuration's flags; each batch is one commit.

    ``prompts``: texts of prompts by ``prompt_sha256``, for ``leaked_prompt``. ``processes``: how many check (default: one a core, and
    this one alone where captions are few).
    """
    started = time.monotonic()
    lake.sweep()  # of a run that was killed, the texts that it had laid aside
    whose = "true" if producer is None else f"producer = {quote(producer)}"
    captions = int(lake.value(f"SELECT count(*) FROM captions WHERE {whose}"))
    found: dict[str, int] = {str(flag): 0 for flag in config.flags}
    checked = 0
    with lake.staging("flags") as staging:
        path = staging / "pending.parquet"
        given = list((prompts or {}).items())
        known = pa.table([[key for key, _ in given], [text for _, text in given]], schema=_PROMPTS)
        with lake.registered(_prompts=known):
            lake.connection.execute(f"COPY ({pending(config, whose)}) TO {quote(str(path))}")
        with (
            pq.ParquetFile(path) as rows,
            progress("flag", rows.metadata.num_rows) as advance,
            Crew("checks", settings(config), rows.metadata.num_rows, processes) as crew,
        ):
            for checks, flags in _batches(rows, crew):
                store(lake, checks, flags)
                for flag in flags["flag"].to_pylist():
                    found[flag] += 1
                checked += checks.num_rows
                advance(checks.num_rows)
    if Flag.CLIPSCORE_OUTLIER in config.flags:
        found[Flag.CLIPSCORE_OUTLIER] = flag_outliers(lake, config, whose)
    if checked:
        lake.merge_small_files()
    counts = FlagCounts(captions=captions, checked=checked, found=found, seconds=round(time.monotonic() - started, 3))
    note_run(lake, "flag", target=producer, detail=settings(config), counts=asdict(counts))
    return counts


def settings(config: FlagConfig) -> dict[str, object]:
    """The configuration as plain values."""
    return asdict(config)


def pending(config: FlagConfig, whose: str) -> str:
    """The query for the captions that lack a check; ``whose`` is a condition over captions, and view _prompts is there."""
    looked_at = [flag for flag in config.flags if flag != Flag.CLIPSCORE_OUTLIER]
    tags = [_tag_sql(flag, config) for flag in looked_at]
    folder = files("captionlake.curation").joinpath("sql")
    annotated = _NO_ANNOTATION
    if any(flag in SOURCE_FLAGS for flag in looked_at):
        annotated = folder.joinpath("annotated_pictures.sql").read_text()
    query = folder.joinpath("pending_flags.sql").read_text()
    query = query.replace("[$tags]", f"[{', '.join(tags)}]::VARCHAR[]").replace("($annotated)", f"({annotated})")
    return query.replace("$of_producer", whose)


def _tag_sql(flag: Flag, config: FlagConfig) -> str:
    text = quote(tag(flag, config))
    if flag in SOURCE_FLAGS:
        return f"{text} || annotation"
    return f"{text} || CASE WHEN prompt IS NULL THEN '' ELSE '+prompt' END" if flag == Flag.LEAKED_PROMPT else text


def _batches(rows: pq.ParquetFile, crew: Crew) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Checks noted and flags found, of ``COMMIT_EVERY`` captions or so at a time."""
    keys: list[tuple[str, list[str]]] = []

    def tasks() -> Iterator[list[Row]]:
        for batch in rows.iter_batches(_TASK):
            task = batch.to_pylist()
            keys.extend((row.pop("caption_id"), row.pop("wanted")) for row in task)
            yield task

    answers = (answer for task in crew.run(tasks()) for answer in task)
    while some := list(islice(answers, COMMIT_EVERY)):
        done, keys[: len(some)] = keys[: len(some)], []
        flags = [[key, *each] for (key, _), found in zip(done, some, strict=True) for each in found]
        columns = [[flag[n] for flag in flags] for n in range(3)]
        yield (
            pa.table([[key for key, _ in done], [tags for _, tags in done]], schema=_CHECKED),
            pa.table(columns, schema=_FOUND),
        )


def store(lake: Lake, checked: pa.Table, found: pa.Table) -> None:
    """Note checks and put the flags found in the place of earlier ones, in one transaction."""
    tagged = files("captionlake.curation").joinpath("sql/store_flags.sql").read_text()

    def change(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute(tagged)
        again = connection.execute("SELECT count(*) FROM checked_now WHERE again").fetchone()
        if again and again[0]:
            connection.execute(
                "DELETE FROM lake.caption_checks WHERE caption_id IN (SELECT caption_id FROM checked_now WHERE again)"
            )
            connection.execute(
                "DELETE FROM lake.caption_flags WHERE (caption_id, flag) IN "
                "(SELECT (caption_id, unnest(flags)) FROM checked_now WHERE again)"
            )
        connection.execute("INSERT INTO lake.caption_checks BY NAME SELECT caption_id, checks FROM checked_now")
        connection.execute(
            "INSERT INTO lake.caption_flags BY NAME SELECT caption_id, flag, detail FROM _found SEMI JOIN checked_now USING (caption_id)"
        )

    lake.commit(change, _checked=checked, _found=found)
