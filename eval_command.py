"""``captionlake eval``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from captionlake.errors import CaptionlakeError
from captionlake.lake.options import emit, json_option

if TYPE_CHECKING:
    from captionlake.models.evaluation import EvalConfig

_COUNT = click.IntRange(1)
_ASKED = "openai:"
_BENCHMARKS = "mme, mmbench, mmbench-cn, seed, mm-vet, llava-w, pope, pope-lake"


@click.command("eval")
@click.argument("checkpoint")
@click.option(
    "--benchmark",
    "benchmarks",
    multiple=True,
    required=True,
    metavar="NAME=PATH",
    help=f"A benchmark and where its files lie ({_BENCHMARKS}); may be given several times.",
)
@click.option("--judge", metavar="openai:MODEL", help="Who judges the answers of mm-vet and llava-w.")
@click.option(
    "--judge-url", metavar="URL", help="The judge's endpoint, as http://127.0.0.1:8000/v1 (default OpenAI's)."
)
@click.option(
    "--judge-settings",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="A TOML file of further settings of the judge: the keys of [caption.endpoint].",
)
@click.option(
    "--max-cost", type=float, metavar="USD", help="The most that judging may cost, with what is judged already."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("results.json"),
    show_default=True,
    metavar="FILE",
    help="The results; answers and judgements are kept beside it, and not made again.",
)
@click.option(
    "--limit", type=_COUNT, metavar="N", help="Ask N questions of each benchmark, spread over it: a partial result."
)
@click.option("--max-tokens", type=_COUNT, metavar="N", help="The longest free answer (default 1024).")
@click.option(
    "--seed", type=click.IntRange(0), default=0, metavar="N", help="Draws the questions of pope-lake (default 0)."
)
@click.option("--batch-size", type=_COUNT, metavar="N", help="Questions in a batch (default 32 on a GPU, else 8).")
@click.option(
    "--device", default="auto", metavar="NAME", help="cpu, cuda, cuda:1 or auto (default): a GPU where there is one."
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16"]),
    default="auto",
    help="auto (default): bf16 where the device has it.",
)
@json_option
def evaluate(checkpoint: str, benchmarks: tuple[str, ...], output: Path, as_json: bool, **options: Any) -> None:
    """Score CHECKPOINT, a folder or a name on the Hub, on benchmarks, and print it beside the paper's rows.

    captionlake eval checkpoints/lmm --benchmark mme=MME --benchmark pope=POPE
    """
    named: dict[str, Path] = {}
    for one in benchmarks:
        name, given, path = one.partition("=")
        if not given or not path or name not in _BENCHMARKS.split(", "):
            raise click.UsageError(f"--benchmark {one}: write NAME=PATH, where NAME is one of {_BENCHMARKS}")
        if name in named:
            raise click.UsageError(f"--benchmark {name} is given twice")
        named[name] = Path(path)
    config = _config(named, options)
    from captionlake.models.evaluation import evaluate as run

    results = run(checkpoint, config, output)
    emit(as_json, results.data(), f"{results.text()}\nresults in {output}")


def _config(benchmarks: dict[str, Path], options: dict[str, Any]) -> "EvalConfig":
    model, url, settings, most = (options.pop(name) for name in ("judge", "judge_url", "judge_settings", "max_cost"))
    if model is None and any(each is not None for each in (url, settings, most)):
        raise click.UsageError("--judge-url, --judge-settings and --max-cost belong to --judge")
    if model is not None and not (model.startswith(_ASKED) and model.removeprefix(_ASKED).strip()):
        raise click.UsageError("--judge is openai:MODEL, as the endpoint calls the model")
    import tomllib

    from pydantic import ValidationError

    from captionlake.models.evaluation import EvalConfig, judge_config

    try:
        told = tomllib.loads(settings.read_text(encoding="utf-8")) if settings is not None else {}
        told |= {} if most is None else {"max_cost_usd": most}
        judge = None if model is None else judge_config(model.removeprefix(_ASKED), url=url, **told)
        return EvalConfig(benchmarks=benchmarks, judge=judge, **options)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CaptionlakeError(f"{settings} cannot be read as TOML ({error}): mend it") from error
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'judge'}: {one['msg']}" for one in error.errors())
        raise CaptionlakeError(
            f"the judge's settings do not hold ({said}): see [caption.endpoint] in docs/captions.md"
        ) from error


commands: list[click.Command] = [evaluate]
