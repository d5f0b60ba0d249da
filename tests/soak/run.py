"""A lake under mixed work by several real processes at once, killed, stopped, with full disks, wrong clocks and held locks.

    python tests/soak/run.py --minutes 60 --seed 1 --lake /tmp/soak

After each round nothing is at work any more, and the invariants of ``invariants.py`` are checked from outside. The first that does not
hold ends the soak: seed, round, invariant and rows are printed, and the lake is left in the folder for study.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import duckdb  # noqa: E402

from tests.soak.invariants import Checker, Violation  # noqa: E402
from tests.soak.jobs import _FAKETIME, Disk, Job, disturbances, hold_lock, wait_for_quiet  # noqa: E402
from tests.soak.world import World  # noqa: E402

NAMESPACE = "CAPTIONLAKE_SOAK_NAMESPACE"
SQL = (
    "SELECT source, count(*) FROM images GROUP BY 1",
    "SELECT count(*) FROM captions JOIN images USING (image_id)",
    "SELECT sha256(bytes) = image_id, count(*) FROM image_bytes GROUP BY 1",
)
WEIGHTS = {
    "ingest a": 5, "ingest b": 5, "ingest web": 3, "embed": 2, "dedupe": 2, "caption": 4, "takedown": 3, "takedown --resume": 1,
    "release create": 3, "release verify": 2, "release gc": 3, "release export": 2, "sql": 4, "status": 1, "doctor": 1,
}  # fmt: skip
SETTLE_EVERY = 5  # rounds


class Soak:
    """Rounds of jobs at once, one disturbance each, and the checks between them."""

    def __init__(self, folder: Path, seed: int, *, mounted: bool, kinds: dict[str, int] = WEIGHTS) -> None:
        self.folder, self.seed, self.kinds = folder, seed, kinds
        self.chance = random.Random(seed)
        self.disk = Disk(folder / "disk", mounted=mounted)
        self.lake = folder / "disk" / "lake"
        (folder / "said").mkdir(exist_ok=True)
        self.checker = Checker(self.lake, folder / "ledger.json")
        self.world = World(folder / "world", self.lake, self.chance, model="embed" in kinds)
        self.ended: Counter[tuple[str, str]] = Counter()
        self.disturbed: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.seconds: dict[str, float] = {}  # that the latest whole run of each kind took
        self.rounds = 0
        self.counts: dict[str, int] = {}

    # The jobs

    def job(self, kind: str) -> Job | None:
        """A command of that kind on the lake as it is; None where there is nothing for it yet."""
        at = ["--lake", str(self.lake)]
        chance, world = self.chance, self.world
        if kind in ("ingest a", "ingest b"):
            name = kind[-1]
            rows = world.grow(name)
            return Job(kind, ["ingest", "folder", str(world.root / name), "--collection", name, *at], rows)
        if kind == "ingest web":
            path, rows = world.list_urls()
            return Job(kind, ["ingest", "web", str(path), "--allow-private-hosts", *at], rows)
        if kind == "embed":
            return Job(kind, ["embed", "--model", "random-weights", "--pretrained", str(world.model), *at])
        if kind == "dedupe":
            by_hash = "embed" not in self.kinds or chance.random() < 0.5
            return Job(kind, ["dedupe", *(["--phash-distance", "4"] if by_hash else ["--threshold", "0.95"]), *at])
        if kind == "caption":
            return Job(kind, ["caption", str(world.recipe(new=False))])
        if kind == "takedown --resume":
            return Job(kind, ["takedown", "--resume", *at])
        if kind == "takedown":
            images = sorted(self.checker.ledger.images)
            if not images:
                return None
            source, key, image_id = chance.choice(images)
            named = ["--image-id", image_id] if chance.random() < 0.5 else ["--source-key", f"{source}:{key}"]
            return Job(kind, ["takedown", *named, "--reason", "asked", "--yes", *at])
        if kind == "release create":
            return Job(kind, ["release", "create", str(world.recipe(new=True))])
        if kind in ("release verify", "release export"):
            labels = sorted(self.checker.ledger.releases)
            if not labels:
                return None
            label = chance.choice(labels)
            if kind == "release verify":
                return Job(kind, ["release", "verify", label, *at])
            form = chance.choice(["parquet", "webdataset", "sharegpt4v-json", "llava-json"])
            out = world.root / "out" / f"{chance.getrandbits(40):010x}"
            return Job(kind, ["release", "export", label, str(out), "--to", form, *at])
        if kind == "release gc":
            return Job(kind, ["release", "gc", "--keep-days", chance.choice(["0", "0", "7"]), *at])
        if kind == "sql":
            return Job(kind, ["sql", chance.choice(SQL), *at])
        return Job(kind, [kind, *at])

    # A round

    def round(self, disturbance: str) -> None:
        """Some jobs at once, something done to them, and the lake looked at when all have ended."""
        kinds = self.chance.choices(list(self.kinds), list(self.kinds.values()), k=self.chance.randint(2, 4))
        jobs = [job for kind in kinds if (job := self.job(kind)) is not None]
        if not jobs:
            return
        if disturbance == "clock":
            for job in jobs:
                job.clock = self.chance.choice(["+1d", "+9d", "-2h", "-3d", None])
        if disturbance == "full disk":
            free = self.chance.choice([0, 20, 200, 1000, 4000]) * 1024
            if self.disk.mounted:
                self.disk.fill(free)
            else:
                for job in jobs:
                    job.file_size = free + 4096
        holder = hold_lock(self.lake, self.chance.uniform(1, 6)) if disturbance == "lock" else None
        for job in jobs:
            job.start(self.folder / "said")
            time.sleep(self.chance.uniform(0, 0.5))
        if disturbance == "kill":
            at = {job: job.started + self.chance.random() * self.seconds.get(job.kind, 6.0) for job in jobs}
            for job in sorted(self.chance.sample(jobs, self.chance.randint(1, len(jobs))), key=at.__getitem__):
                time.sleep(max(0.0, at[job] - time.monotonic()))
                job.kill()
        elif disturbance == "stop":
            job = self.chance.choice(jobs)
            time.sleep(self.chance.uniform(0.5, 4))
            if job.process.poll() is None:
                job.stop(self.chance.uniform(1, 6))
        self._end(jobs, disturbance)
        if holder is not None:
            holder.wait()
        self.disk.make_room()
        self.rounds += 1
        self.disturbed[disturbance] += 1
        self.counts = self.checker.check()

    def _end(self, jobs: list[Job], disturbance: str) -> list[str]:
        ends = []
        for job in jobs:
            ends.append(how := job.wait())
            self.ended[job.kind, how] += 1
            if how == "refused":
                self.refusals[f"{job.kind}: {job.why()}"] += 1
            if how in ("crashed", "never ended"):
                raise Violation(
                    f"{job.kind} {how} ({disturbance})", [" ".join(job.arguments), job.said.read_text()[-3000:]]
                )
            if how == "done":
                self.seconds[job.kind] = job.ended - job.started
                self.checker.ledger.listed.update(job.listed)
        left = wait_for_quiet(jobs)
        if left:
            raise Violation("nothing of a job is left half a minute after it", left)
        return ends

    def settle(self) -> None:
        """All work to its end, undisturbed, one after the other: each must end well, and nothing may be under way then."""
        kinds = [*(kind for kind in self.kinds if kind.startswith("ingest")), "takedown --resume"]
        kinds += ["caption"] if "caption" in self.kinds else []
        for kind in [*kinds, "release gc"]:
            job = self.job(kind)
            assert job is not None
            self._well(job)
        for label in sorted(self.checker.ledger.releases):
            self._well(Job("release verify", ["release", "verify", label, "--lake", str(self.lake)]))
        self.counts = self.checker.check(settled=True)

    def _well(self, job: Job) -> None:
        job.start(self.folder / "said")
        if self._end([job], "settling") != ["done"]:
            raise Violation(f"{job.kind} ends well where nothing disturbs it", [job.said.read_text()[-3000:]])

    def work(self, minutes: float, rounds: int | None = None) -> None:
        """Rounds until the time is up, and at last all settled."""
        end = time.monotonic() + 60 * minutes
        with self.world:
            job = Job("init", ["init", str(self.lake)])
            job.start(self.folder / "said")
            self._end([job], "nothing")
            self.settle()  # so that there is something to work on
            for disturbance in disturbances(self.chance, full=True, clocks=True):
                if time.monotonic() > end or (rounds is not None and self.rounds >= rounds):
                    break
                self.round(disturbance)
                if self.rounds % SETTLE_EVERY == 0:
                    self.settle()
            self.settle()

    def report(self) -> str:
        """What ran how often, and how it ended."""
        ends = ("done", "refused", "killed")
        lines = [f"| {'command':18} | {' | '.join(f'{end:>8}' for end in ends)} |", f"|---|{'---:|' * len(ends)}"]
        for kind in sorted({kind for kind, _ in self.ended}):
            lines.append(f"| {kind:18} | {' | '.join(f'{self.ended[kind, end]:8}' for end in ends)} |")
        lines += ["", "disturbances: " + ", ".join(f"{kind} {n}" for kind, n in self.disturbed.most_common())]
        lines += [f"full disk by {'a tmpfs of its own' if self.disk.mounted else 'a limit on the size of files'}; "]
        lines[-1] += f"clocks by {'libfaketime' if _FAKETIME else 'nothing: install faketime'}"
        lines += ["refusals:", *(f"  {n:3} {why}" for why, n in self.refusals.most_common(25))]
        lines += ["rows at the end: " + ", ".join(f"{table} {n}" for table, n in self.counts.items())]
        lines += [f"{self.rounds} rounds, {self.checker.ledger.checks} checks of all invariants"]
        return "\n".join(lines)


def in_namespace() -> bool:
    """Whether this process has mounts of its own; it starts itself again in a namespace where the system allows that."""
    if NAMESPACE in os.environ:
        return os.environ[NAMESPACE] == "mounts"
    for command in (["unshare", "-m"], ["unshare", "-rm"]):
        if shutil.which("unshare") is None:
            break
        if subprocess.run([*command, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode == 0:
            os.environ[NAMESPACE] = "mounts"
            os.execvp(command[0], [*command, sys.executable, *sys.argv])
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--lake", type=Path, required=True, metavar="DIR", help="a new folder for the lake and all beside it"
    )
    options = parser.parse_args()
    folder = options.lake.absolute()
    if folder.exists() and any(folder.iterdir()):
        sys.exit(f"error: {folder} is not empty: name a new folder")
    mounted = in_namespace()
    folder.mkdir(parents=True, exist_ok=True)
    soak = Soak(folder, options.seed, mounted=mounted)
    try:
        soak.work(options.minutes)
    except (Violation, duckdb.Error) as error:
        shutil.copytree(soak.lake, folder / "lake-as-it-was-found", dirs_exist_ok=True)
        print(soak.report())
        print(
            f"\nVIOLATION  seed {options.seed}, round {soak.rounds + 1}\n{error}\nthe lake: {folder / 'lake-as-it-was-found'}"
        )
        return 1
    print(soak.report())
    print(f"no violation  (seed {options.seed})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
