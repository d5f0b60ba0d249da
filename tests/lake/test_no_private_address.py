"""No private address is ever connected to: shown by listeners that count, and by the kernel's count of connections begun.

In network and mount namespaces where they can be made (``unshare``, as root or in a user namespace), in a network that
has a made-up public host; and always on loopback, where every address is private.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

CHILD = Path(__file__).with_name("canary_net.py")
# not_found: a target with backslashes is a path of the public host itself, which has no such file.
BLOCKED = {"blocked_address", "blocked_scheme", "bad_url", "connection", "not_found"}


def run(kind: str, folder: Path, *before: str) -> dict[str, Any]:
    folder.mkdir()
    command = [*before, sys.executable, str(CHILD), kind, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def way_into_a_namespace() -> list[str] | None:
    """The command before ours, None where this machine lets nobody make a network with addresses of its own."""
    probe = "ip link set lo up && ip addr add 10.9.8.7/32 dev lo && mount --bind /etc/hosts /etc/hosts"
    for flags in (["--net", "--mount"], ["--map-root-user", "--net", "--mount"]):
        way = ["unshare", *flags]
        if shutil.which("unshare") and not subprocess.run([*way, "sh", "-c", probe], capture_output=True).returncode:
            return way
    return None


def silent(found: dict[str, Any]) -> None:
    """Nobody called a private host, although each would have been heard."""
    came = {url: outcome for url, outcome in found["private"].items() if outcome not in BLOCKED}
    assert came == {}
    assert found["accepted"] == dict.fromkeys(found["accepted"], 0)
    assert found["alive"] == 1


def test_on_loopback(tmp_path: Path) -> None:
    found = run("loopback", tmp_path / "loopback")
    silent(found)
    assert len(found["private"]) > 30


def test_in_a_network_with_public_and_private_hosts(tmp_path: Path) -> None:
    way = way_into_a_namespace()
    if way is None:  # the loopback part of the same proof
        silent(run("loopback", tmp_path / "loopback"))
        return
    found = run("namespace", tmp_path / "namespace", *way)
    silent(found)
    assert len(found["private"]) > 80
    assert found["public"] == "came"
    assert (
        found["opened"] == found["public_accepted"] > 0
    )  # every connection begun, to anywhere, ended at the public host
    assert found["robots"] == "blocked_address"  # its robots.txt lies on a private host: not for now
    assert found["mining"] == "came"  # its tdmrep.json does: it has none
    assert set(found["changing"]) == {"came", "blocked_address"}
    assert set(found["archives"]) == {"blocked_address"}
