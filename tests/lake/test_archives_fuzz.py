"""Archives with random damage: nothing but our own errors, no hang, and whole what lies before the damage.

``CAPTIONLAKE_FUZZ_SECONDS`` makes each kind run that long with ever new damage.
"""

import io
import os
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from captionlake.errors import CaptionlakeError
from captionlake.lake.archives import ArchiveReader, MemberError, members

MAX_BYTES = 100_000
EXAMPLES = 150
SECONDS = float(os.environ.get("CAPTIONLAKE_FUZZ_SECONDS", "0"))
CONTENT = {
    **{f"{n:04d}.jpg": bytes((n * 37 + i * i) % 251 for i in range(300 + 117 * n)) for n in range(6)},
    "folder/" * 20 + "long.jpg": b"a long name",
    "ü.jpg": b"PK\x03\x04 ustar",
    "last.jpg": b"last",
}


def _tar(form: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as file:
        for name, data in CONTENT.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _zip(method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in CONTENT.items():
            file.writestr(name, data)
    return buffer.getvalue()


def _parquet() -> bytes:
    buffer = io.BytesIO()
    table = pa.table({"jpg": list(CONTENT.values()), "image": [{"bytes": data} for data in CONTENT.values()]})
    pq.write_table(table, buffer, row_group_size=3, use_dictionary=False, write_page_checksum=True)
    return buffer.getvalue()


WHOLE = {
    "a.tar": _tar(tarfile.PAX_FORMAT),
    "gnu.tar": _tar(tarfile.GNU_FORMAT),
    "stored.zip": _zip(zipfile.ZIP_STORED),
    "deflated.zip": _zip(zipfile.ZIP_DEFLATED),
    "a.parquet": _parquet(),
}
damages = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "insert", "drop"]),
        st.integers(0, 2**20 - 1).map(lambda part: part / 2**20),
        st.binary(min_size=1, max_size=40),
    ),
    min_size=1,
    max_size=4,
)


def damaged(whole: bytes, changes: list[tuple[str, float, bytes]]) -> tuple[bytes, int]:
    """The bytes after the changes, and how many at the beginning are as they were."""
    data, same = bytearray(whole), len(whole)
    for kind, part, noise in changes:
        at = int(part * len(data))
        same = min(same, at)
        if kind == "flip":
            data[at : at + len(noise)] = bytes(a ^ b for a, b in zip(data[at : at + len(noise)], noise, strict=False))
        elif kind == "cut":
            del data[at:]
        elif kind == "insert":
            data[at:at] = noise
        else:
            del data[at : at + len(noise)]
    return bytes(data), same


def survivors(path: Path) -> dict[str, bytes]:
    """What can be read, by place and by name; every other end must be one of our own errors."""
    found: dict[str, bytes] = {}
    with ArchiveReader(max_bytes=MAX_BYTES) as reader, ArchiveReader(max_bytes=MAX_BYTES) as named:
        try:
            names = [*members(path)] if path.suffix != ".parquet" else []
            assert len({member.name for member in names}) == len(names)
            for member in names:
                assert member.name.encode("utf-8") and "\n" not in member.detail
                for each, place in ((reader, (member.offset, member.n_bytes)), (named, (None, None))):
                    try:
                        found.setdefault(member.name, each.read(str(path), member.name, *place))
                    except MemberError as error:
                        assert error.detail
            for row in range(len(CONTENT) + 1) if path.suffix == ".parquet" else ():
                for column in ("jpg", "image.bytes"):
                    try:
                        found[f"{column}/{row}"] = reader.read(str(path), f"{column}/{row}")
                    except MemberError as error:
                        assert error.detail
        except CaptionlakeError as error:
            assert "\n" not in str(error) and path.name in str(error)
    return found


def ends(name: str) -> dict[str, int]:
    """Where the bytes of each member end in the whole archive."""
    if name.endswith(".tar"):
        with tarfile.open(fileobj=io.BytesIO(WHOLE[name])) as file:
            return {info.name: info.offset_data + info.size for info in file}
    with zipfile.ZipFile(io.BytesIO(WHOLE[name])) as zipped:
        infos = zipped.infolist()
    return {i.filename: i.header_offset + 30 + len(i.filename.encode()) + i.compress_size for i in infos}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def repeatedly(test: Callable[[], None]) -> None:
    start = time.monotonic()
    test()
    while time.monotonic() - start < SECONDS:
        test()


@pytest.mark.parametrize("name", WHOLE)
def test_the_samples_are_whole(folder: Path, name: str) -> None:
    (folder / name).write_bytes(WHOLE[name])
    found = survivors(folder / name)
    rows = {f"{c}/{n}": data for c in ("jpg", "image.bytes") for n, data in enumerate(CONTENT.values())}
    assert found == (rows if name.endswith(".parquet") else CONTENT)


@pytest.mark.parametrize("name", [name for name in WHOLE if name != "a.parquet"])
def test_what_lies_before_the_damage_is_whole(folder: Path, name: str) -> None:
    """A zip's directory stands at its end, so that damage there alone can cost a member before it its name in the list."""
    places = ends(name)
    path = folder / name

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(damages)
    def check(changes: list[tuple[str, float, bytes]]) -> None:
        data, same = damaged(WHOLE[name], changes)
        path.write_bytes(data)
        found = survivors(path)
        directory = WHOLE[name].find(b"PK\x01\x02") if name.endswith(".zip") else len(WHOLE[name])
        if name.endswith(".tar") or same < directory:
            for member, end in places.items():
                if end <= same and (name.endswith(".tar") or not _directory_hurt(name, data)):
                    assert found.get(member) == CONTENT[member], member
        for member, read in found.items():
            if name.endswith(".zip") and member in CONTENT:
                assert read == CONTENT[member]  # held by its checksum

    repeatedly(check)


def _directory_hurt(name: str, data: bytes) -> bool:
    """Whether the directory is there and is not what it was: then it may name, hide or double members as it likes."""
    directory = WHOLE[name][WHOLE[name].find(b"PK\x01\x02") :]
    return not data.endswith(directory) and b"PK\x05\x06" in data


def test_damaged_parquet_files(folder: Path) -> None:
    """Pages have checksums, so that a cell is as it was or is refused."""
    path, rows = folder / "a.parquet", list(CONTENT.values())

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(damages)
    def check(changes: list[tuple[str, float, bytes]]) -> None:
        data, same = damaged(WHOLE["a.parquet"], changes)
        path.write_bytes(data)
        found = survivors(path)
        footer = WHOLE["a.parquet"][-8 - int.from_bytes(WHOLE["a.parquet"][-8:-4], "little") :]
        if data.endswith(footer) and len(data) == len(WHOLE["a.parquet"]):
            group_ends = _row_group_ends()
            for row, cell in enumerate(rows):
                if group_ends[row // 3] <= same:
                    assert found[f"jpg/{row}"] == cell

    repeatedly(check)


def _row_group_ends() -> list[int]:
    metadata = pq.ParquetFile(io.BytesIO(WHOLE["a.parquet"])).metadata
    found = []
    for group in range(metadata.num_row_groups):
        chunks = [metadata.row_group(group).column(n) for n in range(metadata.num_columns)]
        found.append(max(chunk.data_page_offset + chunk.total_compressed_size for chunk in chunks))
    return found


@settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from([b"PK\x03\x04", b"PAR1", b"ustar", b"PK\x05\x06", b""]),
    st.binary(max_size=2000),
    st.sampled_from(["zip", "tar", "parquet", "x"]),
)
def test_any_bytes_at_all(folder: Path, head: bytes, noise: bytes, suffix: str) -> None:
    (folder / f"noise.{suffix}").write_bytes((bytes(257) if head == b"ustar" else b"") + head + noise)
    survivors(folder / f"noise.{suffix}")
