"""Files of a Debian package, fetched and unpacked into a folder of ours: nothing is installed, root is not needed."""

import os
import shutil
import subprocess
from pathlib import Path

TIMEOUT_S = 300


class NoPackageError(Exception):
    """The package cannot be had here; the message says why, in one line."""


def _run(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=TIMEOUT_S)
    except FileNotFoundError:
        raise NoPackageError(f"{command[0]} is not on this machine") from None
    except subprocess.TimeoutExpired:
        raise NoPackageError(f"{' '.join(command[:2])} gave no answer in {TIMEOUT_S} s") from None
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if line.startswith("E:")] or error.stderr.splitlines()
        said = lines[0].removeprefix("E: ") if lines else f"exit status {error.returncode}"
        raise NoPackageError(f"{' '.join(command[:2])}: {said}") from None


def unpacked(package: str, cache: Path) -> Path:
    """The folder that holds the package's files, fetched with ``apt-get download`` the first time."""
    folder = cache / package
    if folder.exists():
        return folder
    if shutil.which("dpkg-deb") is None:
        raise NoPackageError("dpkg-deb is not on this machine")
    draft = cache / f"{package}.draft-{os.getpid()}"
    draft.mkdir(parents=True, exist_ok=True)
    try:
        try:
            _run(["apt-get", "download", package], draft)
        except NoPackageError:
            if shutil.which("apt-get") is None or os.geteuid() != 0:
                raise
            _run(["apt-get", "update"], draft)  # a fresh machine has no package lists yet
            _run(["apt-get", "download", package], draft)
        archive = next(draft.glob(f"{package}_*.deb"), None)
        if archive is None:
            raise NoPackageError(f"apt-get download left no {package}_*.deb")
        _run(["dpkg-deb", "-x", archive.name, "files"], draft)
        (draft / "files").rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder
