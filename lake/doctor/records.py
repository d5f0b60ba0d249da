"""What the tables say of releases, publications, takedowns and failures that somebody has to see to."""

from collections.abc import Iterator
from typing import Any

from captionlake.lake import maintenance
from captionlake.lake.catalog import quote
from captionlake.lake.doctor.finding import Finding, command, note, ok, problem
from captionlake.lake.lake import Lake
from captionlake.lake.place import catalog_of
from captionlake.lake.reasons import FailureReason
from captionlake.lake.releases.redacted import IS_REDACTED
from captionlake.lake.releases.release import list_releases
from captionlake.lake.releases.verification import VERIFY
from captionlake.lake.takedown.removal import unfinished

#: reasons that may have passed
PASSING = (FailureReason.RATE_LIMITED, FailureReason.SERVER_ERROR, FailureReason.TIMEOUT, FailureReason.CONNECTION)
_VERIFIED = (
    "SELECT target, max(created_at), arg_max((counts->>'n_problems')::BIGINT, created_at) FROM runs "
    f"WHERE step = '{VERIFY}' AND target IS NOT NULL GROUP BY 1"
)
_PUBLISHED = (
    "SELECT name || '@' || version, repo_id, detail->>'endpoint', coalesce((detail->>'redacted')::BIGINT, 0), "
    "coalesce((detail->>'history_erased')::BOOLEAN, false) FROM publications "
    "WHERE (name, version) IN (SELECT (name, version) FROM releases) ORDER BY created_at"
)
_REDACTED = f"SELECT name || '@' || version, count(*) FROM release_items WHERE {IS_REDACTED} GROUP BY 1"


def releases(lake: Lake) -> Iterator[Finding]:
    """Each can be read at its snapshot, and was verified since it was made or redacted."""
    found, name = list_releases(lake), catalog_of(lake.path).name
    there = {snapshot for snapshot, _ in maintenance.snapshots(lake)}
    verified = {label: (at, wrong) for label, at, wrong in lake.rows(_VERIFIED)}
    taken = lake.value("SELECT max(created_at) FROM takedowns")
    fine = True
    for one in found:
        verify = command("captionlake", "release", "verify", one.label, "--lake", lake.path)
        at, wrong = verified.get(one.label, (None, None))
        since = max(one.created_at, taken) if one.state == "redacted" and taken else one.created_at
        if one.snapshot_id not in there:
            what = f"{one.label} is of snapshot {one.snapshot_id}, which the catalog has no more"
            yield problem("releases", what, name, f"restore {command(name)} from a backup")
        elif wrong:
            yield problem(
                "releases", f"{one.label} did not verify on {at:%Y-%m-%d}, with {wrong:,} problems", name, verify
            )
        elif at is None or at < since:
            yield note(
                "releases", f"{one.label} was not verified since it was {'redacted' if at else 'made'}", name, verify
            )
        else:
            continue
        fine = False
    if fine:
        yield ok("releases", f"{len(found):,}, all verified" if found else "none yet", name)


def publications(lake: Lake) -> Iterator[Finding]:
    """Nothing that was taken down can be read in what was published, or in its history there."""
    now: dict[str, int] = dict(lake.rows(_REDACTED))
    behind: dict[tuple[str, str], str] = {}
    rows = lake.rows(_PUBLISHED)
    for label, repo_id in dict.fromkeys((row[0], row[1]) for row in rows):
        counts = [row for row in rows if row[:2] == (label, repo_id)]
        redacted = now.get(label, 0)
        if counts[-1][3] < redacted:
            behind[label, repo_id] = "holds"
        elif any(row[3] < redacted for row in counts) and not _erased(counts, redacted):
            behind[label, repo_id] = "holds in its history"
    for (label, repo_id), holds in behind.items():
        mend = command("captionlake", "publish", label, repo_id, "--erase-history", "--lake", lake.path)
        yield problem("publications", f"{repo_id} {holds} rows of {label} that were taken down", repo_id, mend)
    if not behind:
        yield ok("publications", f"{len({row[:2] for row in rows}):,}, none behind a takedown", "publications")


def _erased(rows: list[tuple[Any, ...]], redacted: int) -> bool:
    since = next((number for number, row in enumerate(rows) if row[3] == redacted), len(rows))
    return any(row[4] for row in rows[since:])


def takedowns(lake: Lake) -> Iterator[Finding]:
    """None was ended in the middle."""
    left = unfinished(lake)
    for one in left:
        mend = command("captionlake", "takedown", "--resume", "--lake", lake.path)
        yield problem("takedowns", f"takedown {one.takedown_id} was ended in the middle", "takedowns", mend)
    if not left:
        yield ok("takedowns", "none is unfinished", "takedowns")


def failures(lake: Lake) -> Iterator[Finding]:
    """Rows that did not come in for a reason that may have passed."""
    rows = lake.rows(
        "SELECT source, count(*), string_agg(DISTINCT reason, ', ' ORDER BY reason) FROM fetch_failures "
        f"WHERE reason IN ({', '.join(quote(reason) for reason in PASSING)}) GROUP BY 1 ORDER BY 1"  # a list handed over loads pandas
    )
    for source, count, reasons in rows:
        mend = f"{command('captionlake', 'ingest', source)} INPUT… --retry-failed {command('--lake', lake.path)}"
        yield note("failures", f"{count:,} rows of {source} may be tried again ({reasons})", "fetch_failures", mend)
    if not rows:
        yield ok("failures", "none that is worth a second try", "fetch_failures")
