"""The shards of pictures: none missing or cut short, none that no row names, and their pictures the ones that were stored."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from captionlake.lake.doctor.finding import Finding, command, note, ok, problem
from captionlake.lake.lake import Lake
from captionlake.lake.parallel_reader import ParallelReader
from captionlake.lake.progress import progress
from captionlake.lake.releases.verification import VERIFY
from captionlake.lake.shards import NO_SHARD, Locator, is_shard, old_shards
from captionlake.lake.storage import Storage

_SAMPLE = 64  # pictures
_CHUNK = 20_000
_SHOWN = 5


def shards(lake: Lake) -> Iterator[Finding]:
    """Every shard that a row names is there and long enough; every shard is named."""
    images = lake.images
    rows = lake.rows(
        'SELECT shard, max("offset" + n_bytes), count(DISTINCT image_id) FROM images GROUP BY 1 ORDER BY 1'
    )
    sizes = images.sizes(shard for shard, *_ in rows)
    sound = True
    for shard, end, pictures in rows:
        path = f"{images.url}/{shard}"
        if shard not in sizes:
            sound = False
            yield problem("shards", f"missing, with {pictures:,} pictures", path, _restore(images, shard))
        elif sizes[shard] < end:
            sound = False
            what = f"cut short: {sizes[shard]:,} bytes, and its {pictures:,} pictures end at {end:,}"
            yield problem("shards", what, path, _restore(images, shard))
    if sound:
        yield ok("shards", f"all {len(rows):,} are there", images.url)
    yield from _stale(lake, images, {shard for shard, _, _ in rows})


def _restore(images: Storage, shard: str) -> str:
    copy = "cp" if images.numbered else "aws s3 cp"
    return f"{copy} BACKUP/images/{shard} {command(images.url)}/"


def _stale(lake: Lake, images: Storage, named: set[str]) -> Iterator[Finding]:
    gc = command("captionlake", "release", "gc", "--lake", lake.path)
    needless = lake.needless_shards()
    for name in sorted(needless):
        yield note("shards", "no snapshot names it: its ingest was killed", f"{images.url}/{name}", gc)
    there = {name for name in images.names() if is_shard(name)} - {NO_SHARD}
    young = sorted(there - named - old_shards(images))
    if young:
        what = f"{len(young):,} shards of the last day that no row names ({', '.join(young[:_SHOWN])}): an ingest may be on its way to it"
        yield note("shards", what, images.url)


def sample(lake: Lake) -> Iterator[Finding]:
    """Some pictures read and hashed, other ones each time; and when all of them were."""
    images = lake.images.url
    query = f'SELECT image_id, shard, "row", "offset", n_bytes FROM images USING SAMPLE {_SAMPLE} ROWS'
    found = _wrong(lake, [_place(row) for row in lake.rows(query)])
    if found:
        yield from found[:_SHOWN]
    total, newest = lake.rows("SELECT count(DISTINCT image_id), max(ingested_at) FROM images")[0]
    last = lake.rows(
        f"SELECT created_at, (counts->>'pictures')::BIGINT, (counts->>'n_problems')::BIGINT FROM runs WHERE step = '{VERIFY}' "
        "AND target IS NULL ORDER BY created_at DESC LIMIT 1"
    )
    deep = command("captionlake", "doctor", "--deep", "--lake", lake.path)
    if not total:
        yield ok("pictures", "none yet", images)
    elif not last:
        yield note("pictures", f"{total:,}, never all of them verified; {min(total, _SAMPLE):,} were now", images, deep)
    elif newest > last[0][0] or last[0][2]:
        what = f"{last[0][1]:,} of {total:,} were verified on {last[0][0]:%Y-%m-%d}, {last[0][2]:,} with a problem"
        yield note("pictures", f"{what}; {min(total, _SAMPLE):,} were now", images, deep)
    else:
        yield ok("pictures", f"all {total:,} were verified on {last[0][0]:%Y-%m-%d}", images)


def every_picture(lake: Lake, counts: dict[str, Any]) -> Iterator[Finding]:
    """Every picture read and hashed. ``counts`` becomes what a row of ``runs`` says of it."""
    total = lake.value("SELECT count(DISTINCT image_id) FROM images")
    counts |= {"pictures": 0, "n_problems": 0}
    query = 'SELECT DISTINCT image_id, shard, "row", "offset", n_bytes FROM lake.images ORDER BY shard, "row"'
    cursor = lake.connection.cursor().execute(query)
    shown = 0
    with progress("verify", total) as advance:
        while rows := cursor.fetchmany(_CHUNK):
            found = _wrong(lake, [_place(row) for row in rows])
            counts["pictures"] += len(rows)
            counts["n_problems"] += len(found)
            yield from islice(found, max(0, 100 - shown))
            shown += len(found)
            advance(len(rows))
    if not counts["n_problems"]:
        yield ok("pictures", f"all {counts['pictures']:,} read and hashed", lake.images.url)
    elif shown > 100:
        yield problem(
            "pictures",
            f"{counts['n_problems']:,} of {counts['pictures']:,} are wrong, the first hundred told",
            lake.images.url,
        )


def _place(row: tuple[Any, ...]) -> tuple[str, Locator]:
    image_id, shard, number, offset, n_bytes = row
    return image_id, Locator(shard, number, offset, n_bytes)


def _wrong(lake: Lake, places: list[tuple[str, Locator]]) -> list[Finding]:
    """Of pictures whose shard is there: those that are not what was stored."""
    images = lake.images
    there = set(images.sizes({locator.shard for _, locator in places}))
    places = [place for place in places if place[1].shard in there]
    found = []
    with ParallelReader(images) as reader:
        for (image_id, locator), error in zip(places, reader.check(places), strict=True):
            if error is not None:
                what = f"row {locator.row}, byte {locator.offset:,}: the bytes are not those of picture {image_id}"
                shard = locator.shard
                found.append(problem("pictures", what, f"{images.url}/{shard}", _restore(images, shard)))
    return found
