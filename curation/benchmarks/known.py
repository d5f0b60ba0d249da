"""Which benchmark a folder or file holds, told by its content."""

from dataclasses import replace
from pathlib import Path

from captionlake.curation.benchmarks import folder, llava_wild, mm_vet, mmbench, mme, seed_bench
from captionlake.curation.benchmarks.benchmark import Benchmark
from captionlake.errors import CaptionlakeError


def benchmarks_in(path: Path, name: str | None = None) -> list[Benchmark]:
    """The benchmarks of a folder, of a TSV, or of a zip or tar of pictures; ``name`` is what a single one shall be called.

    What has no benchmark's form is a folder of pictures. LLaVA's own list of questions is read where there is nothing
    else, for it also lies beside other benchmarks' files.
    """
    try:
        if not path.exists():
            raise CaptionlakeError(f"no such folder or file: {path}: check the path")
    except (OSError, ValueError) as error:
        raise CaptionlakeError(f"{str(path)!r} cannot be read ({error}): check the path") from error
    found = mmbench.found(path)
    found += [one for reader in (seed_bench, mm_vet, mme) if (one := reader.found(path)) is not None]
    if not found:
        found = [llava_wild.found(path) or _folder(path)]
    if name is None:
        return found
    if len(found) > 1:
        names = ", ".join(benchmark.name for benchmark in found)
        raise CaptionlakeError(
            f"{path} holds several benchmarks ({names}): leave out the name, or give one's own folder"
        )
    return [replace(found[0], name=name)]


def _folder(path: Path) -> Benchmark:
    if path.suffix.lower() == ".tsv":
        raise CaptionlakeError(f"{path} has no columns index and image: give a TSV as MMBench's")
    return folder.found(path)
