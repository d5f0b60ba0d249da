"""A recipe, step by step. Each step does only what is missing in the lake, so a run can be killed and started again."""

import logging
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.engines import LOCAL, Engine
from captionlake.recipe import Recipe

if TYPE_CHECKING:
    import polars as pl

    from captionlake.caption_step import Captioned
    from captionlake.curation.select_config import SelectConfig
    from captionlake.curation.select_plan import Shortfall
    from captionlake.curation.selection import Selection
    from captionlake.lake.releases.release import Draft


log = logging.getLogger(__name__)


class Step(StrEnum):
    """The steps of a run, in order."""

    INGEST = "ingest"
    EMBED = "embed"
    DEDUPE = "dedupe"
    DECONTAMINATE = "decontaminate"
    SELECT = "select"
    CAPTION = "caption"
    RELEASE = "release"
    ANALYZE = "analyze"
    CARD = "card"
    PUBLISH = "publish"


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step did: a line for people, counts for programs, seconds."""

    step: Step
    said: str
    counts: dict[str, Any]
    seconds: float


@dataclass(slots=True)
class RunReport:
    """All steps that ran, where the card is, and where the release was published."""

    lake: Path
    steps: list[StepReport] = field(default_factory=list)
    release: str | None = None
    card: Path | None = None
    url: str | None = None


def run(
    recipe: Recipe,
    *,
    until: Step | None = None,
    tell: Callable[[StepReport], None] = lambda _: None,
    foretell: Callable[[str], None] = log.info,
    engine: Engine = LOCAL,
) -> RunReport:
    """Work a recipe off, up to and with the step ``until``. ``tell`` hears of each step as it ends, ``foretell`` what one will cost.

    ``engine``: where pictures are fetched, embedded, compared and captioned by a checkpoint.
    """
    _check_until(recipe, until)
    if recipe.analyze is not None:
        _check_analysis(recipe)
    if recipe.publish is not None and until in (None, Step.PUBLISH):
        _check_publish(recipe)
    if not Lake.exists(recipe.lake):
        try:
            Lake.init(recipe.lake).close()
        except CaptionlakeError:
            if not Lake.exists(recipe.lake):  # else another process has just made it
                raise
    report = RunReport(recipe.lake)
    fields = {"run_id": uuid.uuid4().hex, "recipe": str(recipe.path), "lake": str(recipe.lake)}
    log.info("run of %s begins", recipe.path, extra={"fields": fields})
    with Lake.open(recipe.lake) as lake:
        started = time.monotonic()
        for step, said, counts in Run(lake, recipe, report, foretell, engine).steps():
            done = StepReport(step, said, counts, round(time.monotonic() - started, 2))
            report.steps.append(done)
            log.info("%s: %s", step.value, said, extra={"fields": fields | _logged(done)})
            tell(done)
            if step == until and not _goes_on(step, recipe, report):
                break
            started = time.monotonic()
    seconds = round(sum(done.seconds for done in report.steps), 2)
    log.info(
        "run of %s is done", recipe.path, extra={"fields": fields | {"seconds": seconds, "release": report.release}}
    )
    return report


def _logged(done: StepReport) -> dict[str, Any]:
    """``rows``: how many the step was about, where it says so."""
    names = ("listed", "embedded", "pairs", "items", "captions", "n_items")
    rows = next((done.counts[name] for name in names if isinstance(done.counts.get(name), int)), None)
    return {"step": done.step.value, "rows": rows, "seconds": done.seconds, "counts": done.counts}


def _check_until(recipe: Recipe, until: Step | None) -> None:
    chooses = recipe.select is not None or recipe.release is not None
    has = {
        Step.INGEST: bool(recipe.ingest),
        Step.EMBED: recipe.embed is not None,
        Step.DEDUPE: recipe.select is not None and recipe.select.looks_for_similar,
        Step.DECONTAMINATE: recipe.decontaminate is not None,
        Step.SELECT: chooses,
        Step.CAPTION: chooses and recipe.caption is not None,
        Step.RELEASE: recipe.release is not None,
        Step.ANALYZE: recipe.release is not None and recipe.analyze is not None,
        Step.CARD: recipe.release is not None and recipe.card is not None,
        Step.PUBLISH: recipe.release is not None and recipe.publish is not None,
    }
    if until is not None and not has[until]:
        known = ", ".join(step for step in Step if has[step])
        raise CaptionlakeError(f"{recipe.path} has no step {until}: choose one of {known}")


def _check_analysis(recipe: Recipe) -> None:
    """Before any work: whether captions can be parsed, and their figure drawn and written."""
    from captionlake.curation.analysis.output import check_output
    from captionlake.curation.analysis.parser import find_package

    find_package()
    check_output(recipe.figure().parent)


def _check_publish(recipe: Recipe) -> None:
    """Before any work, which may take days: whether the token may write there."""
    from captionlake.cards.publishing.hub import Hub
    from captionlake.cards.publishing.preflight import refuse
    from captionlake.cards.publishing.standing import may_write

    assert recipe.publish is not None
    refuse(may_write(Hub(recipe.publish.repo_id, "dataset")))


def _goes_on(step: Step, recipe: Recipe, report: RunReport) -> bool:
    """A step of several parts goes on: ingest has one part a source."""
    return step == Step.INGEST and len(report.steps) < len(recipe.ingest)


class Run:
    def __init__(
        self,
        lake: Lake,
        recipe: Recipe,
        report: RunReport,
        tell: Callable[[str], None] = log.info,
        engine: Engine = LOCAL,
    ) -> None:
        self.lake = lake
        self.recipe = recipe
        self.report = report
        self.engine = engine
        self.tell = tell  # hears what a step is about to do
        self.model_id: str | None = None
        self.snapshot: int | None = None  # at which to choose; None: the newest

    def steps(self) -> Iterator[tuple[Step, str, dict[str, Any]]]:
        recipe = self.recipe
        for config in recipe.ingest:
            from captionlake.lake.ingest import ingest
            from captionlake.lake.ingest_report import ingest_line

            counts = asdict(ingest(self.lake, config, fetchers=self.engine.fetchers()))
            yield Step.INGEST, ingest_line(counts), counts
        if recipe.embed is not None:
            yield self._embed()
        if recipe.select is not None and recipe.select.looks_for_similar:
            yield self._dedupe(recipe.select)
        if recipe.decontaminate is not None:
            yield self._decontaminate()
        if recipe.select is None and recipe.release is None:
            return
        selection = self.select()
        yield Step.SELECT, *_select_said(selection)
        captions = None
        if recipe.caption is not None:
            captioned = self._caption(selection)
            selection, captions = captioned.selection, captioned.captions
            yield Step.CAPTION, captioned.said, captioned.counts
        if recipe.release is not None:
            yield self._release(selection, captions)
            if recipe.analyze is not None:
                yield self._analyze()
            if recipe.card is not None:
                yield self._card()
            if recipe.publish is not None:
                yield self._publish()

    def _embed(self) -> tuple[Step, str, dict[str, Any]]:
        from captionlake.curation.embedding import embed

        assert self.recipe.embed is not None
        counts = embed(self.lake, self.recipe.embed, engine=self.engine)
        self.model_id = counts.model_id
        return (
            Step.EMBED,
            f"{counts.embedded:,} embedded, {counts.present:,} present; {counts.model_id}",
            asdict(counts),
        )

    def _dedupe(self, select: "SelectConfig") -> tuple[Step, str, dict[str, Any]]:
        from captionlake.curation.hash_pairs import find_hash_pairs
        from captionlake.curation.similarity import find_pairs

        said, counts = [], {}
        if select.duplicate_phash is not None:
            hashes = find_hash_pairs(self.lake, select.duplicate_phash)
            counts["phash"] = asdict(hashes)
            said.append(f"{hashes.pairs:,} pairs of perceptual hashes within {hashes.distance} bits")
        if select.duplicate_threshold is not None and self.model_id is not None:
            pairs = find_pairs(self.lake, self.model_id, select.duplicate_threshold, engine=self.engine)
            counts |= asdict(pairs)
            said.append(f"{pairs.pairs:,} pairs of cosine >= {pairs.threshold:g} among {pairs.images:,} pictures")
        return Step.DEDUPE, ", ".join(said), counts

    def _decontaminate(self) -> tuple[Step, str, dict[str, Any]]:
        from captionlake.curation.decontamination import decontaminate
        from captionlake.curation.model import load_model

        assert self.recipe.decontaminate is not None
        model = load_model(self.recipe.embed) if self.recipe.embed is not None else None
        found = decontaminate(self.lake, self.recipe.decontaminate, model=model)
        said = ", ".join(f"{one.images:,} pictures of {one.benchmark} ({one.items:,} items)" for one in found)
        if unread := sum(sum(one.unread.values()) for one in found):
            said += f"; {unread:,} items could not be read"
        return Step.DECONTAMINATE, said, {"benchmarks": [asdict(one) for one in found]}

    def select(self, refused: "pl.DataFrame | None" = None) -> "Selection":
        """The choice that the recipe makes of the lake as it is now; without a [select], all but the same bytes again.

        ``refused`` rows (source, source_key, detail) give their place to the next.
        """
        from captionlake.curation.select_config import SelectConfig
        from captionlake.curation.selection import select

        caption = self.recipe.caption
        return select(
            self.lake,
            self.recipe.select or SelectConfig(),
            model_id=self.model_id,
            captioned_by=caption.captioner if caption is not None and caption.is_brought else None,
            snapshot=self.lake.snapshot() if self.snapshot is None else self.snapshot,
            refused=refused,
        )

    def _caption(self, selection: "Selection") -> "Captioned":
        from captionlake.caption_step import brought, by_model

        assert self.recipe.caption is not None
        if self.recipe.caption.is_brought:
            return brought(self.lake, self.recipe, selection, self.select)
        return by_model(self.lake, self.recipe, selection, self.select, self.tell, engine=self.engine)

    def draft(self, selection: "Selection", captions: pa.Table | None) -> "Draft":
        """The release of a choice; ``captions`` as in ``Captioned``."""
        from captionlake.lake.releases.release import Draft

        assert self.recipe.release is not None
        return Draft(
            config=self.recipe.release,
            recipe=self.recipe.text,
            snapshot=selection.snapshot,
            items=_with_split(self.lake, selection, self.recipe.release.splits),
            exclusions=selection.exclusions.to_arrow(),
            producers=[self.recipe.caption.captioner if self.recipe.caption is not None else "source"],
            refuse=list(self.recipe.caption.refuse) if self.recipe.caption is not None else [],
            captions=captions,
        )

    def _release(self, selection: "Selection", captions: pa.Table | None) -> tuple[Step, str, dict[str, Any]]:
        from captionlake.lake.releases.release import create_release
        from captionlake.lake.runs import note_run

        release, new = create_release(self.lake, self.draft(selection, captions))
        self.report.release = release.label
        counts = {"n_items": release.n_items, "content_sha256": release.content_sha256, "new": new}
        if new:
            note_run(self.lake, "release", target=release.label, detail={}, counts=counts)
        said = f"{release.label}: {release.n_items:,} items, content {release.content_sha256[:12]}"
        return Step.RELEASE, said + ("" if new else " (there already, the same)"), counts

    def _analyze(self) -> tuple[Step, str, dict[str, Any]]:
        from captionlake.curation.analysis.analysis import analyze
        from captionlake.curation.analysis.output import write_figure

        assert self.report.release is not None
        found, path = analyze(self.lake, self.report.release), self.recipe.figure()
        drawn = write_figure(found, path)
        counts = asdict(found.counts) | {"figure": str(path) if drawn else None}
        said = f"{found.counts.counted:,} captions parsed, {found.counts.present:,} before"
        return Step.ANALYZE, said + (f"; {path}" if drawn else "; no pair of verb and noun to draw"), counts

    def _card(self) -> tuple[Step, str, dict[str, Any]]:
        from captionlake.cards.dataset_card import write_card

        assert self.report.release is not None and self.recipe.card is not None
        folder = self.recipe.card_folder()
        written = write_card(self.lake, self.report.release, folder)
        self.report.card = folder / "README.md"
        return Step.CARD, f"{written.facts} facts, each with its query", {"card": str(self.report.card)}

    def _publish(self) -> tuple[Step, str, dict[str, Any]]:
        from captionlake.cards.publishing.config import PublishOptions
        from captionlake.cards.publishing.publish import publish_release

        config = self.recipe.publish
        assert self.report.release is not None and config is not None
        options = PublishOptions(private=config.private, gated=config.gated)
        done = publish_release(self.lake, self.report.release, config.repo_id, options)
        self.report.url = done.url
        said = f"{done.state}: {done.url} {done.tag}" + (f"; {len(done.files):,} files differed" if done.files else "")
        return Step.PUBLISH, said, {"revision": done.revision, "bytes_sent": done.bytes_sent, "remains": done.remains}


def _with_split(lake: Lake, selection: "Selection", splits: dict[str, float]) -> pa.Table:
    from captionlake.lake.releases.splits import split_sql

    with lake.registered(_items=selection.items.select("source", "source_key", "image_id").to_arrow()):
        return lake.arrow(f"SELECT *, {split_sql('image_id', splits)} AS split FROM _items")


def _select_said(selection: "Selection") -> tuple[str, dict[str, Any]]:
    reasons = dict(selection.exclusions.group_by("reason").len().sort("reason").iter_rows())
    short = int(selection.quotas["shortfall"].sum())
    left = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
    said = f"{len(selection.items):,} chosen, {len(selection.exclusions):,} left out" + (f" ({left})" if left else "")
    counts = {"items": len(selection.items), "excluded": reasons, "shortfall": short}
    return said + (f"; {short:,} short of the quotas" if short else ""), counts


def plan(recipe: Recipe, *, forgiving: bool = False) -> "tuple[Selection, list[Shortfall]]":
    """What the recipe would choose of the lake now, without writing anything, and what its quotas lack.

    Raises where an earlier step is missing, and on a shortfall as the recipe says, unless ``forgiving``.
    """
    from captionlake.curation.select_config import SelectConfig
    from captionlake.curation.select_plan import shortfalls

    config = recipe.select or SelectConfig()
    if forgiving:
        recipe = replace(recipe, select=replace(config, shortfall="report"))
    with Lake.open(recipe.lake) as lake:
        selection = chooser(lake, recipe).select()
        return selection, shortfalls(lake, config, selection)


def create_release(recipe: Recipe) -> RunReport:
    """The steps from select to card alone, of the lake as it is."""
    if recipe.release is None:
        raise CaptionlakeError(f"{recipe.path} has no [release]: add one with a name and a version")
    with Lake.open(recipe.lake) as lake:
        job = chooser(lake, recipe)
        job.recipe = replace(recipe, ingest=[], embed=None, decontaminate=None, publish=None)
        for step, said, counts in job.steps():
            job.report.steps.append(StepReport(step, said, counts, 0.0))
        return job.report


def chooser(lake: Lake, recipe: Recipe) -> Run:
    """A run that can choose without embedding: it knows the model by its name."""
    job = Run(lake, recipe, RunReport(recipe.lake))
    if recipe.embed is not None and recipe.select is not None and recipe.select.duplicate_threshold is not None:
        from captionlake.curation.embedding import model_id

        job.model_id = model_id(recipe.embed)
    return job
