"""A PostgreSQL server of the tests' own, on loopback, with a password that stands nowhere else."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psycopg

PASSWORD = "pw-Xq7-zebra-never-shown"
USER = "lake_tester"
NOT_INSTALLED = "PostgreSQL is not installed: apt-get install postgresql"


def programs() -> Path | None:
    """The newest version's folder of server programs, where there is one."""
    found = [*Path("/usr/lib/postgresql").glob("*/bin/initdb"), *map(Path, filter(None, [shutil.which("initdb")]))]
    return max(found, key=lambda path: path.parts).parent if found else None


class Server:
    """Started once made; ``stop`` it. Its files belong to an unprivileged user, as PostgreSQL wants it."""

    def __init__(self) -> None:
        self._programs = programs() or Path()
        self._user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        self.folder = Path(tempfile.mkdtemp(prefix="captionlake-pg-"))
        if self._user:
            found = pwd.getpwnam("postgres")
            os.chown(self.folder, found.pw_uid, found.pw_gid)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self.data = self.folder / "data"
        self._run("initdb", "--no-sync", "-A", "scram-sha-256", f"--pwfile={secret}", "-U", USER, "-E", "UTF8")
        settings = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c autovacuum=off"
        )
        self._run("pg_ctl", "-w", "-o", settings, "-l", self.folder / "log", "start")
        self._databases = 0

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self._programs / program), "-D", str(self.data), *map(str, arguments)]
        kinds: dict[str, Any] = self._user
        subprocess.run(command, cwd="/", check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, **kinds)

    def restart(self) -> None:
        """As after a crash: no process is given time, and the log of changes is replayed."""
        self._run("pg_ctl", "-w", "-m", "immediate", "-l", self.folder / "log", "restart")

    def stop(self) -> None:
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")
        shutil.rmtree(self.folder)

    def connect(self, database: str = "postgres") -> "psycopg.Connection[tuple[Any, ...]]":
        return psycopg.connect(
            host="127.0.0.1", port=self.port, dbname=database, user=USER, password=PASSWORD, autocommit=True
        )

    def database(self) -> str:
        """The URL of a new, empty database, as ``init --catalog`` takes it."""
        self._databases += 1
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE lake_{self._databases}")
        return f"postgres://127.0.0.1:{self.port}/lake_{self._databases}"

    def environment(self, folder: Path) -> dict[str, str]:
        """What lets libpq in: a password file, and no password among the variables."""
        file = folder / "pgpass"
        file.write_text(f"127.0.0.1:{self.port}:*:{USER}:{PASSWORD}\n")
        file.chmod(0o600)
        return {"PGPASSFILE": str(file), "PGUSER": USER}
