"""What ``make demo`` runs: prepares photographs and model, serves them, runs the recipe, shows what came out."""

import argparse
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from gcompris import BadResourceError
from layout import BUILD, LayoutError, lay_out
from model import NAME, write_model
from photographs import collect
from server import PORT, PortInUseError, Site

ROOT = BUILD.parents[1]
RECIPE = ROOT / "recipes" / "demo.toml"
LAKE = BUILD / "lake"
CARD = BUILD / "card" / "README.md"
RELEASE = "r.name = 'demo' AND r.version = '1.0.0'"

COMPOSITION = f"""
SELECT i.collection, coalesce(i.subset, '') AS subset, count(*) AS pictures,
       count(DISTINCT i.license) AS licences, round(avg(i.width * i.height) / 1e6, 2) AS megapixels
FROM release_items r JOIN images i USING (source, source_key) WHERE {RELEASE}
GROUP BY ALL ORDER BY ALL"""

LEFT_OUT = f"""
SELECT i.collection, r.reason, count(*) AS pictures
FROM exclusions r JOIN images i USING (source, source_key) WHERE {RELEASE}
GROUP BY ALL ORDER BY ALL"""

NOT_FETCHED = "SELECT reason, url, detail FROM fetch_failures ORDER BY reason, url"

TO_TRY = {
    "Which picture was dropped for which, and how alike are they?": f"""
SELECT r.source_key AS dropped, r.keeper_key AS kept, round(r.similarity, 4) AS similarity
FROM exclusions r WHERE {RELEASE} AND r.reason = 'duplicate' ORDER BY r.similarity, dropped LIMIT 8""",
    "How long are the captions of each collection?": """
SELECT i.collection, count(*) AS captions, round(avg(c.words), 1) AS words, max(c.words) AS longest
FROM captions c JOIN images i USING (source, source_key) GROUP BY ALL ORDER BY ALL""",
    "Which captions speak of a castle, and whose pictures are they?": """
SELECT i.collection, i.author, i.license, left(c.text, 60) AS caption
FROM captions c JOIN images i USING (source, source_key)
WHERE contains(lower(c.text), 'castle') ORDER BY ALL LIMIT 8""",
}


class StepError(Exception):
    """A step of the demo failed; the message says which, and what to do."""


def say(text: str = "") -> None:
    print(text, flush=True)  # the commands in between write to the same terminal


def shown(path: Path) -> str:
    """The path as a user at the repository's root would type it."""
    return os.path.relpath(path, Path.cwd())


def command() -> Path:
    """The ``captionlake`` that is installed beside this Python."""
    script = Path(sys.executable).parent / "captionlake"
    if not script.exists():
        raise StepError(f"{script} is missing: install captionlake into this environment (pip install '.[demo]')")
    return script


def captionlake(*arguments: str) -> None:
    """Run the command, its output going where ours goes."""
    status = subprocess.run([str(command()), *arguments], check=False).returncode
    if status:
        raise StepError(
            f"`captionlake {shlex.join(arguments)}` ended with status {status}; its own message stands above"
        )


def ask(title: str, query: str, *, with_command: bool = False) -> None:
    """Print a query's answer under a title; ``with_command`` shows how to ask it again."""
    one_line = " ".join(query.split())
    say(f"\n{title}")
    if with_command:
        say(f'  {shown(command())} sql --lake {shown(LAKE)} "{one_line}"')
    captionlake("sql", one_line, "--lake", shown(LAKE))


def prepare(port: int, *, debian: bool) -> None:
    """The photographs laid out and the model written; both are kept where they are there already."""
    started = time.perf_counter()
    say("collecting photographs" + (" (apt-get download gcompris-qt-data, 44 MB, the first time)" if debian else ""))
    found = collect(debian=debian)
    for remark in found.remarks:
        say(f"  {remark}")
    record = lay_out(found.photographs, BUILD, port)
    copies = len(record["pictures"]) - record["photographs"]
    what = (
        f"{record['photographs']} photographs, {copies} planted copies, {len(record['dead_links'])} planted dead links"
    )
    say(f"  {what}: {shown(BUILD)} ({time.perf_counter() - started:.1f} s)")
    started = time.perf_counter()
    say("writing the embedding model: EfficientNet-Lite0 with ImageNet weights, not CLIP")
    written = write_model(BUILD / NAME)
    say(f"  {shown(BUILD / NAME)} ({'written' if written else 'kept'}, {time.perf_counter() - started:.1f} s)")


def demo(port: int, *, debian: bool) -> None:
    """The whole demo."""
    command()  # fail now rather than after the downloads
    prepare(port, debian=debian)
    with Site(BUILD / "site", port) as site:
        say(f"\ncaptionlake run {shown(RECIPE)}   (pictures from {site.url})")
        captionlake("run", shown(RECIPE))
    ask("What is in the release demo@1.0.0", COMPOSITION)
    ask("What was left out, and why", LEFT_OUT)
    ask("What could not be fetched, and why", NOT_FETCHED)
    say("\nThree queries to try next, with their answers")
    for title, query in TO_TRY.items():
        ask(title, query, with_command=True)
    if not CARD.exists():
        raise StepError(f"the run ended without a card at {shown(CARD)}")
    say(f"\nThe data set's card: {shown(CARD)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=PORT, help="where to serve the pictures; part of their URLs")
    parser.add_argument("--no-debian", action="store_true", help="only the photographs that pip brings")
    parser.add_argument("--material", action="store_true", help="prepare the photographs and the model, and stop")
    options = parser.parse_args()
    started = time.perf_counter()
    try:
        if options.material:
            prepare(options.port, debian=not options.no_debian)
        else:
            demo(options.port, debian=not options.no_debian)
    except (StepError, LayoutError, PortInUseError, BadResourceError) as error:
        sys.exit(f"error: {error}")
    say(f"done in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
