"""The built wheel, on a path of its own: every file that the program needs is in it. Run by ``make wheel``."""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent


def run(*command: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", "."]
        # Built from a copy: a build in place would pick up modules of earlier builds.
        shutil.copytree(
            ROOT, work / "source", ignore=shutil.ignore_patterns(".venv", "build", ".git", "*.egg-info", ".*_cache")
        )
        run(*pip, str(work / "source"), cwd=work)
        (wheel,) = work.glob("captionlake-*.whl")
        with zipfile.ZipFile(wheel) as file:
            names = file.namelist()
            file.extractall(work / "site")
        strays = [n for n in names if not n.startswith("captionlake/") and ".dist-info/" not in n]
        if strays or any("/tests/" in name for name in names):
            sys.exit(f"the wheel holds what it should not: {strays[:5]}")
        checkout = {
            path.relative_to(ROOT).as_posix()
            for room in ("lake", "curation", "models", "cards")
            for path in (ROOT / room).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        missing = sorted(name for name in checkout if f"captionlake/{name}" not in names)
        if missing:
            sys.exit(f"the wheel lacks {', '.join(missing)}: list them in pyproject.toml")
        environment = {"PYTHONPATH": str(work / "site")}
        where = run(
            sys.executable, "-P", "-c", "import captionlake.lake as l; print(l.__file__)", cwd=work, **environment
        )
        if not where.startswith(str(work)):
            sys.exit(f"the smoke test ran {where.strip()}, not the wheel")
        (work / "photos").mkdir()
        Image.linear_gradient("L").save(work / "photos" / "gradient.png")
        (work / "captions.csv").write_text("file_name,caption\ngradient.png,A gradient from black to white\n")
        (work / "recipe.toml").write_text(
            'lake = "lake"\n[[ingest]]\nsource = "folder"\ninputs = ["photos", "captions.csv"]\nredistribute = "bytes"\n'
            '[caption]\ncaptioner = "source"\n[release]\nname = "smoke"\nversion = "1.0.0"\n[card]\noutput = "card"\n'
        )
        captionlake = [sys.executable, "-P", "-m", "captionlake"]
        run(*captionlake, "run", "recipe.toml", cwd=work, **environment)
        run(*captionlake, "release", "verify", "smoke@1.0.0", "--lake", "lake", cwd=work, **environment)
        said = run(
            *captionlake,
            "sql",
            "SELECT text FROM captions",
            "--release",
            "smoke@1.0.0",
            "--lake",
            "lake",
            cwd=work,
            **environment,
        )
        if "A gradient from black to white" not in said or not (work / "card" / "README.md").is_file():
            sys.exit(f"the wheel's program did not do its work:\n{said}")
        print(f"{wheel.name}: {len(names)} files, a release made and described")


if __name__ == "__main__":
    main()
