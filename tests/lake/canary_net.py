"""A network of its own for tests of the guard: a made-up public host, private hosts that count who calls, a lying resolver.

``python canary_net.py namespace FOLDER`` runs inside fresh network and mount namespaces (``unshare``): addresses lie on its
loopback interface, names come from a DNS server here, and nothing leaves. ``python canary_net.py loopback FOLDER`` does
with loopback alone what can be done so, where no namespace can be made. Prints what happened as JSON.
"""

import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from captionlake.errors import CaptionlakeError
from captionlake.lake.archive_download import archive_size, fetch_archive
from captionlake.lake.download import download
from captionlake.lake.guard import FetchPolicy, GuardedOpener

PUBLIC = "93.184.216.34"
PRIVATE = ("10.9.8.7", "172.16.5.5", "192.168.7.7", "169.254.169.254", "100.64.3.2", "127.0.0.1", "127.0.0.2")
PRIVATE6 = ("::1", "fd00::1", "fe80::7")
NAMES = {
    "private.example": [["10.9.8.7"]],
    "metadata.example": [["169.254.169.254"]],
    "both.example": [[PUBLIC, "10.9.8.7"]],
    "rebind.example": [[PUBLIC], ["10.9.8.7"]],  # one after the other
    "back.example": [["10.9.8.7"], [PUBLIC]],
    "six.example": [["fd00::1"]],
    "mapped.example": [["::ffff:10.9.8.7"]],
    "public.example": [[PUBLIC]],
    "robots-moves.example": [[PUBLIC]],
    "mining-moves.example": [[PUBLIC]],
}


class Listener:
    """Accepts on one address, counts, and answers as the made-up public web does."""

    def __init__(self, address: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.accepted: Counter[str] = Counter()
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((address, port))
        self.socket.listen(64)
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    def _serve(self) -> None:
        while True:
            connection, _ = self.socket.accept()
            self.accepted["all"] += 1
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(5)
            try:
                asked = connection.recv(65536).decode("latin-1")
                connection.sendall(self.answer(asked))
            except OSError:
                return

    def answer(self, asked: str) -> bytes:
        target = asked.split(" ")[1] if " " in asked else "/"
        host = next((line[6:].strip() for line in asked.splitlines() if line.lower().startswith("host: ")), "")
        parts = urlsplit(target)
        if target == "/robots.txt" and host.startswith("robots-moves"):
            return self.moved(f"http://10.9.8.7{self.tail}/robots.txt")
        if target == "/.well-known/tdmrep.json" and host.startswith("mining-moves"):
            return self.moved(f"http://169.254.169.254{self.tail}/tdmrep.json")
        if parts.path == "/to":
            query = parse_qs(parts.query)
            return self.moved(query["url"][0], int(query.get("code", ["302"])[0]))
        if parts.path.startswith("/image"):
            return b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"
        return b"HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n"

    @property
    def tail(self) -> str:
        return "" if self.port == 80 else f":{self.port}"

    def moved(self, where: str, code: int = 302) -> bytes:
        return f"HTTP/1.0 {code} Moved\r\nLocation: {where}\r\nContent-Length: 0\r\n\r\n".encode()


class Resolver:
    """A DNS server whose answers to one name may differ from query to query, and live for no time."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, int]] = Counter()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            query, client = self.socket.recvfrom(4096)
            labels, at = [], 12
            while size := query[at]:
                labels.append(query[at + 1 : at + 1 + size].decode())
                at += 1 + size
            kind = struct.unpack("!H", query[at + 1 : at + 3])[0]
            name = ".".join(labels).lower()
            choices = NAMES.get(name, [])
            now = choices[self.asked[name, kind] % len(choices)] if choices else []
            self.asked[name, kind] += 1
            family = {1: socket.AF_INET, 28: socket.AF_INET6}.get(kind)
            found = [a for a in now if family and (":" in a) == (kind == 28)]
            records = b""
            for address in found:
                packed = socket.inet_pton(family or 0, address)
                records += b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 0, len(packed)) + packed
            flags = 0x8180 if choices else 0x8183
            header = query[:2] + struct.pack("!HHHHH", flags, 1, len(found), 0, 0)
            self.socket.sendto(header + query[12 : at + 5] + records, client)


def urls(port: int) -> list[str]:
    """Addresses behind which only private hosts stand, in every dress."""
    tail = "" if port == 80 else f":{port}"
    literal = ["127.0.0.1", "127.1", "127.0.0.2", "2130706433", "0x7f000001", "0177.0.0.1", "017700000001", "0"]
    literal += ["10.9.8.7", "10.591879", "0x0a090807", "168364039", "012.9.8.7", "0x0a.9.2055", "172.16.5.5"]
    literal += ["192.168.7.7", "169.254.169.254", "2852039166", "0xa9.0xfe.0xa9.0xfe", "100.64.3.2", "0.0.0.0"]
    literal += ["[::1]", "[fd00::1]", "[::ffff:10.9.8.7]", "[::ffff:a09:807]", "[::ffff:127.0.0.1]", "[::127.0.0.1]"]
    literal += ["[64:ff9b::10.9.8.7]", "[2002:a09:807::1]", "[::]", "[0:0:0:0:0:0:0:1]", "127.0.0.1.", "localhost"]
    return [f"http://{host}{tail}/image/{number}" for number, host in enumerate(literal)]


def namespace(folder: Path) -> dict[str, Any]:
    commands = ["link set lo up"]
    commands += [f"addr add {address}/32 dev lo" for address in (PUBLIC, *PRIVATE) if not address.startswith("127.")]
    commands += [f"-6 addr add {address}/128 dev lo nodad" for address in PRIVATE6 if address != "::1"]
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    subprocess.run(["mount", "--bind", folder / "resolv.conf", os.path.realpath("/etc/resolv.conf")], check=True)
    Resolver()
    public = Listener(PUBLIC, 80)
    canaries = {address: Listener(address, 80) for address in (*PRIVATE, "::1", "fd00::1")}
    private = urls(80)
    private += [f"http://{name}/image/n" for name in ("private.example", "metadata.example", "both.example")]
    private += [f"http://{name}/image/n" for name in ("six.example", "mapped.example", "PRIVATE.example.")]
    targets = [
        "http://10.9.8.7/x",
        "//10.9.8.7/x",
        "http://private.example/x",
        "http://169.254.169.254/latest/meta-data/",
    ]
    targets += [
        "http://[::1]/x",
        "http://2130706433/x",
        "http://[::ffff:10.9.8.7]/x",
        "\\\\10.9.8.7\\x",
        "file:///etc/passwd",
    ]
    moved = [f"http://public.example/to?code={code}&url={url}" for code in (301, 302, 303, 307, 308) for url in targets]
    chain = ["http://public.example/to?url=http://public.example/to?url=http://10.9.8.7/x"]
    files = ["http://robots-moves.example/image/1", "http://mining-moves.example/image/1"]
    changing = [f"http://{name}/image/{n}" for name in ("rebind.example", "back.example") for n in range(20)]
    asked = [*private, *moved, *chain, *files, *changing, "http://public.example/image/1"]
    before = _active_opens()
    found = _downloaded(folder, asked)
    opener = GuardedOpener(FetchPolicy(threads=4, retries=0, timeout=2, robots=False, tdm_reservation=False))
    for url in changing:  # names looked up again and again by one process
        found.setdefault(f"again {url}", _opened(opener, url))
    for number, url in enumerate(["http://10.9.8.7/a.tar", "http://private.example/a.tar", moved[0], moved[1]]):
        found[f"archive {url}"] = _archive(url, folder / f"{number}.tar")
    opened = _active_opens() - before
    accepted = {address: canary.accepted["all"] for address, canary in canaries.items()}
    # The canaries are alive: with the checks off, one sings.
    GuardedOpener(FetchPolicy(allow_private_hosts=True, robots=False, tdm_reservation=False)).open(
        "http://10.9.8.7/image/1"
    )
    alive = canaries["10.9.8.7"].accepted["all"] - accepted["10.9.8.7"]
    return {
        "private": {url: found[url] for url in [*private, *moved, *chain]},
        "public": found["http://public.example/image/1"],
        "robots": found[files[0]],
        "mining": found[files[1]],
        "changing": sorted({found[url] for url in changing} | {found[f"again {url}"] for url in changing}),
        "archives": sorted({found[key] for key in found if key.startswith("archive")}),
        "opened": opened,
        "public_accepted": public.accepted["all"],
        "accepted": accepted,
        "alive": alive,
    }


def loopback(folder: Path) -> dict[str, Any]:
    first = Listener("127.0.0.1", 0)
    canaries = {"127.0.0.1": first}
    for address in ("127.0.0.2", "::1"):
        try:
            canaries[address] = Listener(address, first.port)
        except OSError:  # this machine has no such loopback address
            continue
    found = _downloaded(folder, urls(first.port))
    accepted = {address: canary.accepted["all"] for address, canary in canaries.items()}
    GuardedOpener(FetchPolicy(allow_private_hosts=True, robots=False, tdm_reservation=False)).open(
        f"http://127.0.0.1:{first.port}/image/1"
    )
    return {"private": found, "accepted": accepted, "alive": first.accepted["all"] - accepted["127.0.0.1"]}


def _downloaded(folder: Path, asked: list[str]) -> dict[str, str]:
    """What became of each address in a download by the real img2dataset, the environment's proxies naming a private host."""
    os.environ.update(
        http_proxy="http://10.9.8.7:80", HTTPS_PROXY="http://127.0.0.1:80", ALL_PROXY="http://10.9.8.7:80"
    )
    (folder / "requests").mkdir()
    (folder / "work").mkdir()
    table = pa.table({"row_id": pa.array(range(len(asked)), pa.int64()), "url": asked})
    pq.write_table(table, folder / "requests" / "0.parquet")
    policy = FetchPolicy(processes=1, threads=16, retries=0, timeout=2)
    batches = download(folder / "requests", folder / "work", policy)
    return {asked[item.row_id]: item.reason or "came" for batch in batches for item in batch}


def _opened(opener: GuardedOpener, url: str) -> str:
    try:
        return opener.open(url).read().decode().replace("ok", "came")
    except Exception as error:
        return str(error).partition("|")[0]


def _archive(url: str, target: Path) -> str:
    assert archive_size(url, FetchPolicy(timeout=2)) is None
    try:
        fetch_archive(url, target, FetchPolicy(timeout=2, retries=0))
    except CaptionlakeError as error:
        return str(getattr(error.__cause__, "reason", error))
    return "came"


def _active_opens() -> int:
    """Connections that were begun in this network, to anywhere, since it was made."""
    names, values = (
        line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Tcp:")
    )
    return int(values[names.index("ActiveOpens")])


if __name__ == "__main__":
    kind, place = sys.argv[1], Path(sys.argv[2])
    sys.stdout.write(json.dumps(namespace(place) if kind == "namespace" else loopback(place)))
