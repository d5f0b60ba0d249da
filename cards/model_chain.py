"""What a checkpoint goes back to: the checkpoints that it went on from, its release, and the captioners whose captions that holds.

A record names the checkpoint it started from by its folder's name alone, and a release its captioner by the same name: so the chain is one
of names, followed through the folders beside the checkpoint and through the lake's ``runs``.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any, NamedTuple

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.catalog import quote
from captionlake.lake.releases.names import parse_release
from captionlake.models.checkpoint import RECORD, CheckpointRecord, read_record
from captionlake.models.running.folder import CheckpointFolder

_CAPTIONER = "captioner:"  # how a checkpoint's captions name their producer
_TOLD = ("family", "name", "stage", "release", "content_sha256", "steps", "samples", "start")

_RELEASE = """\
SELECT kind, state, n_items, parent, content_sha256, recipe_sha256, strftime(created_at AT TIME ZONE 'UTC', '%Y-%m-%d') AS created_on
FROM releases WHERE {one}"""
# Today's tables: what was taken down since has left them.
_TEXTS = """\
SELECT kind, producer, producer_revision, licence, count(*) AS texts FROM (
  SELECT c.kind, c.producer, c.producer_revision, c.license AS licence
  FROM release_captions r JOIN captions c USING (caption_id) WHERE {one}
  UNION ALL
  SELECT coalesce(c.kind, 'conversation'), coalesce(c.producer, regexp_replace(v.origin, ':[0-9]+$', '')), c.producer_revision, c.license
  FROM release_items r JOIN conversations v USING (conversation_id) LEFT JOIN captions c USING (caption_id) WHERE {one}
) GROUP BY ALL ORDER BY texts DESC, kind, producer, producer_revision NULLS FIRST, licence NULLS LAST"""
_PICTURES = """\
SELECT r.source, coalesce(i.license, s.license) AS licence, s.redistribute, count(*) AS pictures
FROM release_items r LEFT JOIN images i USING (source, source_key)
LEFT JOIN (SELECT source, any_value(license) AS license, any_value(redistribute) AS redistribute FROM sources GROUP BY ALL) s
  ON s.source = r.source
WHERE {one} AND r.source IS NOT NULL GROUP BY ALL ORDER BY pictures DESC, r.source, licence NULLS LAST"""
_PUBLISHED = """\
SELECT DISTINCT repo_id FROM publications p JOIN releases r USING (name, version)
WHERE {one} AND (p.detail->>'content_sha256') = r.content_sha256 ORDER BY repo_id"""
_TRAINED = """\
SELECT target AS release, detail->>'stage' AS stage, detail->>'content_sha256' AS content_sha256,
  CAST(counts->>'steps' AS BIGINT) AS steps, strftime(created_at AT TIME ZONE 'UTC', '%Y-%m-%d') AS trained_on
FROM runs WHERE step = 'train' AND parse_filename(detail->>'output') = {name} ORDER BY created_at"""


class Asked(NamedTuple):
    """A fact's name, its query, and the rows."""

    name: str
    query: str
    rows: list[dict[str, Any]]


def ancestry(folder: CheckpointFolder) -> Iterator[tuple[str, dict[str, str], dict[str, Any]]]:
    """(name, file and key, what its record tells) of each checkpoint that it went on from, as far as they stand beside it."""
    record, seen = folder.record, {folder.path.name}
    while record is not None and record.start and "/" not in record.start and record.start not in seen:
        name = record.start
        seen.add(name)
        record = read_record(folder.path.parent / name) if name not in (".", "..") else None
        if record is not None:
            told = {key: value for key, value in asdict(record).items() if key in _TOLD}
            told["model"] = record.hyper.get("model")
            yield name, {"file": f"../{name}/{RECORD}", "key": ", ".join(told)}, told


def of_lake(lake: Lake, folder: CheckpointFolder, record: CheckpointRecord) -> Iterator[Asked]:
    """What the lake says of the releases and the checkpoints behind a checkpoint, whose record this is.

    Raises where its own release has other content in this lake.
    """
    checkpoints = [name for name, _, _ in ancestry(folder)] or ([record.start] if record.start else [])
    releases, seen = [record.release], {*checkpoints, record.release}

    def add(queue: list[str], names: Iterable[str]) -> None:
        new = [name for name in dict.fromkeys(names) if name not in seen]
        seen.update(new)
        queue += new

    while releases or checkpoints:
        if checkpoints:
            name = checkpoints.pop(0)
            trained = _ask(lake, f"trained:{name}", _TRAINED.format(name=quote(name)))
            add(releases, (row["release"] for row in trained.rows))
            yield trained
            continue
        label = releases.pop(0)
        release, texts, *others = _release(lake, label)
        yield release
        if not release.rows:
            continue
        content = release.rows[0]["content_sha256"]
        if label == record.release and content != record.content_sha256:
            raise CaptionlakeError(
                f"{lake.path} has another {label} ({content[:12]}) than {folder.path} was trained on "
                f"({record.content_sha256[:12]}): name the lake that it was trained from"
            )
        yield from (texts, *others)
        writers = (row["producer"] for row in texts.rows if row["kind"] == "captioner")
        add(checkpoints, (name.removeprefix(_CAPTIONER) for name in writers if name.startswith(_CAPTIONER)))


def _release(lake: Lake, label: str) -> Iterator[Asked]:
    name, version = parse_release(label)
    one = f"name = {quote(name)} AND version = {quote(version)}"
    for fact, sql in (("release", _RELEASE), ("texts", _TEXTS), ("pictures", _PICTURES), ("published", _PUBLISHED)):
        yield _ask(lake, f"{fact}:{label}", sql.format(one=one))


def _ask(lake: Lake, name: str, sql: str) -> Asked:
    return Asked(name, sql, lake.arrow(sql).to_pylist())
