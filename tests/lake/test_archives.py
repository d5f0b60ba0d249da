"""Folders, zips, tars and Parquet files: listed, read in place, and hostile or damaged in every known way."""

import io
import os
import stat
import struct
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset

from captionlake.errors import CaptionlakeError
from captionlake.lake.archives import ArchiveReader, Member, MemberError, members, row_for

Content = dict[str, bytes]
LONG = "a/" * 70 + "n" * 120 + ".jpg"


@pytest.fixture
def content(tiles: Callable[[int], list[bytes]]) -> Content:
    names = ["0001.jpg", "a/0002.jpg", "ünï 東京.jpg", "it's; DROP.jpg", LONG]
    return dict(zip(names, tiles(len(names)), strict=True))


def make_tar(path: Path, content: Content, form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as file:
        for name, data in content.items():
            add(file, name, data)
    return path


def add(file: tarfile.TarFile, name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, target: str = "") -> None:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(data), kind, target
    file.addfile(info, io.BytesIO(data))


def make_zip(path: Path, content: Content, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in content.items():
            file.writestr(name, data)
    return path


def listed(archive: Path) -> list[Member]:
    return list(members(archive))


def read_all(archive: Path, **options: Any) -> Content:
    """Every usable member, by its place and, which must be the same, by its name."""
    found = {}
    with ArchiveReader(**options) as placed, ArchiveReader(**options) as named:
        for member in members(archive):
            if member.reason is None:
                found[member.name] = placed.read(str(archive), member.name, member.offset, member.n_bytes)
                assert named.read(str(archive), member.name) == found[member.name]
    return found


def reasons(archive: Path) -> dict[str, str]:
    return {member.name: member.reason.value for member in members(archive) if member.reason}


def refusal(archive: Path, member: str, offset: int | None = None, n_bytes: int | None = None, **options: Any) -> str:
    with ArchiveReader(**options) as reader, pytest.raises(MemberError) as caught:
        reader.read(str(archive), member, offset, n_bytes)
    assert caught.value.detail and "\n" not in caught.value.detail
    return caught.value.reason.value


def complaint(archive: Path) -> str:
    with pytest.raises(CaptionlakeError) as caught:
        listed(archive)
    assert "\n" not in str(caught.value) and archive.name in str(caught.value)
    return str(caught.value)


# Whole archives


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_tars_as_their_library_writes_them(tmp_path: Path, content: Content, form: int) -> None:
    archive = make_tar(tmp_path / "a.tar", content, form)
    assert read_all(archive) == content
    data = archive.read_bytes()
    for member in members(archive):
        assert member.offset is not None and member.n_bytes is not None
        assert data[member.offset : member.offset + member.n_bytes] == content[member.name]


@pytest.mark.parametrize("form", ["gnu", "posix", "ustar", "v7"])
def test_tars_as_gnu_tar_writes_them(tmp_path: Path, content: Content, form: str) -> None:
    folder = tmp_path / "f"
    taken = {name: data for name, data in content.items() if name != LONG or form in ("gnu", "posix")}
    taken["b/" * 60 + "c.jpg"] = content["0001.jpg"]
    if form == "v7":
        taken.popitem()
    for name, data in taken.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    subprocess.run(["tar", f"--format={form}", "-cf", tmp_path / "a.tar", "-C", folder, "."], check=True)
    assert read_all(tmp_path / "a.tar") == taken
    assert read_all(folder) == taken


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zips_of_each_method(tmp_path: Path, content: Content, method: int) -> None:
    archive = make_zip(tmp_path / "a.zip", content, method)
    assert read_all(archive) == content
    data = archive.read_bytes()
    for member in members(archive):
        assert (member.offset is not None) == (method == zipfile.ZIP_STORED)
        if member.offset is not None and member.n_bytes is not None:
            assert data[member.offset : member.offset + member.n_bytes] == content[member.name]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_that_was_written_to_a_pipe(tmp_path: Path, content: Content, method: int) -> None:
    """Its sizes and checksums stand after the members, and in the directory."""
    archive = tmp_path / "a.zip"
    with archive.open("wb") as raw:
        pipe = io.BufferedWriter(_Pipe(raw))
        with zipfile.ZipFile(pipe, "w", method) as file:
            for name, data in content.items():
                file.writestr(name, data)
        pipe.flush()
    assert read_all(archive) == content


class _Pipe(io.RawIOBase):
    def __init__(self, file: Any) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return int(self._file.write(data))


def test_zip64(tmp_path: Path, content: Content) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name, data in content.items():
            with file.open(name, "w", force_zip64=True) as member:
                member.write(data)
    assert read_all(archive) == content


def test_a_zip_after_other_bytes(tmp_path: Path, content: Content) -> None:
    """As of a program that unpacks itself."""
    whole = make_zip(tmp_path / "b.zip", content).read_bytes()
    archive = tmp_path / "a.zip"
    archive.write_bytes(b"#!/bin/sh\n" + bytes(500) + whole)
    assert read_all(archive) == content


def test_independent_readers_take_the_samples(tmp_path: Path, content: Content) -> None:
    pairs = {f"{n:04d}.{kind}": data for n, data in enumerate(content.values()) for kind in ("jpg", "json")}
    archive = make_tar(tmp_path / "a.tar", pairs)
    samples = list(webdataset.WebDataset(str(archive), shardshuffle=False, empty_check=False))
    assert [sample["jpg"] for sample in samples] == list(content.values())
    with tarfile.open(archive) as file:
        assert {member.name: member.offset for member in members(archive)} == {i.name: i.offset_data for i in file}
    assert zipfile.ZipFile(make_zip(tmp_path / "a.zip", content)).testzip() is None


def test_a_tar_larger_than_any_disk_is_listed_by_its_headers(tmp_path: Path, content: Content) -> None:
    """60 GB, nearly all of it a hole, with a size that needs GNU's binary form."""
    data = content["0001.jpg"]
    archive = tmp_path / "a.tar"
    with archive.open("wb") as file:
        for name, size in (("big.bin", 60 * 2**30), ("small.jpg", len(data))):
            info = tarfile.TarInfo(name)
            info.size = size
            file.write(info.tobuf(tarfile.GNU_FORMAT))
            file.seek(size // 512 * 512 + (512 if size % 512 else 0), os.SEEK_CUR) if size > 2**20 else file.write(data)
        file.write(bytes(-len(data) % 512 + 1024))
    assert [(member.name, member.reason) for member in members(archive)] == [("big.bin", None), ("small.jpg", None)]
    big, small = members(archive)
    with ArchiveReader() as reader:
        assert reader.read(str(archive), small.name, small.offset, small.n_bytes) == data
    assert refusal(archive, big.name, big.offset, big.n_bytes) == "too_large"


def test_joined_tars(tmp_path: Path, content: Content) -> None:
    first = make_tar(tmp_path / "1.tar", {"x.jpg": b"x"})
    archive = tmp_path / "a.tar"
    archive.write_bytes(first.read_bytes() + make_tar(tmp_path / "2.tar", content).read_bytes())
    assert read_all(archive) == {"x.jpg": b"x"} | content


def test_what_is_hidden_is_passed_over(tmp_path: Path) -> None:
    names = [".DS_Store", "a/.hidden/x.jpg", "__MACOSX/a/x.jpg", "a/._x.jpg", "..x.jpg"]
    shown = {"a/x.jpg": b"1", "b..c.jpg": b"2", "x__MACOSX.jpg": b"3"}
    both = dict.fromkeys(names, b"hidden") | shown
    assert read_all(make_tar(tmp_path / "a.tar", both)) == shown
    assert read_all(make_zip(tmp_path / "a.zip", both)) == shown
    assert [*reasons(tmp_path / "a.tar"), *reasons(tmp_path / "a.zip")] == []


def test_archives_without_members(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert listed(tmp_path / "folder") == []
    assert listed(make_tar(tmp_path / "a.tar", {})) == []
    assert listed(make_zip(tmp_path / "a.zip", {})) == []


def test_many_archives_are_open_by_turns(tmp_path: Path) -> None:
    archives = [make_tar(tmp_path / f"{n}.tar", {"x.jpg": b"%d" % n}) for n in range(100)]
    before = len(os.listdir("/proc/self/fd"))
    with ArchiveReader() as reader:
        for _ in range(2):
            for n, archive in enumerate(archives):
                assert reader.read(str(archive), "x.jpg") == b"%d" % n
        assert len(os.listdir("/proc/self/fd")) - before <= 64
    assert len(os.listdir("/proc/self/fd")) == before


# Names


UNSAFE = ["../x.jpg", "a/../../x.jpg", "/etc/x.jpg", "C:\\x.jpg", "c:/x.jpg", "..\\x.jpg", "\\\\host\\x.jpg", "a/.."]


@pytest.mark.parametrize("name", UNSAFE)
def test_names_that_climb_out(tmp_path: Path, name: str) -> None:
    for archive in (
        make_tar(tmp_path / "a.tar", {"ok.jpg": b"1", name: b"2"}),
        make_zip(tmp_path / "a.zip", {"ok.jpg": b"1", name: b"2"}),
    ):
        assert list(reasons(archive).values()) == ["unsafe_member"]
        assert read_all(archive) == {"ok.jpg": b"1"}
        assert refusal(archive, name) == "unsafe_member"
        assert refusal(make_zip(tmp_path / "b.zip", {}), name) == "unsafe_member"


def test_folders_within_a_zip_of_windows(tmp_path: Path) -> None:
    assert read_all(make_zip(tmp_path / "a.zip", {"a\\b.jpg": b"1"})) == {"a/b.jpg": b"1"}


@pytest.mark.parametrize("name", ["a\nb.jpg", "a\x1b[2Jb.jpg", "a\x7f.jpg"])
def test_control_characters_are_shown_escaped(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / name).write_bytes(b"1")
    for archive in (
        tmp_path / "folder",
        make_tar(tmp_path / "a.tar", {name: b"1"}),
        make_zip(tmp_path / "a.zip", {name: b"1"}),
    ):
        (found,) = listed(archive)
        assert found.reason == "bad_row" and found.name.isprintable() and "\\x" in found.name


def test_a_zero_byte_in_a_name(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"aXb.jpg": b"1"})
    archive.write_bytes(archive.read_bytes().replace(b"aXb", b"a\0b"))
    assert reasons(archive) == {"a\\x00b.jpg": "bad_row"}


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / name).write_bytes(b"1")
    for archive in (tmp_path / "folder", make_tar(tmp_path / "a.tar", {name: b"1"})):
        assert reasons(archive) == {"caf?.jpg": "bad_row"}
    archive = make_zip(tmp_path / "a.zip", {"cafX.jpg": b"1", "dX.jpg": b"2"})
    raw = archive.read_bytes().replace(b"cafX", b"caf\x82")  # é in code page 437
    archive.write_bytes(raw)
    assert read_all(archive) == {"café.jpg": b"1", "dX.jpg": b"2"}


def test_utf_8_names_that_do_not_say_so(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"XXX.jpg": b"1"})
    archive.write_bytes(archive.read_bytes().replace(b"XXX", "東".encode()))
    assert read_all(archive) == {"東.jpg": b"1"}


def test_two_members_under_one_name(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        for name, data in (("x.jpg", b"1"), ("./x.jpg", b"2"), ("x.jpg", b"3")):
            add(file, name, data)
    with pytest.warns(UserWarning), zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        for data in (b"1", b"2", b"3"):
            zipped.writestr("x.jpg", data)
    for archive in (tmp_path / "a.tar", tmp_path / "a.zip"):
        assert read_all(archive) == {"x.jpg": b"1"}
        assert reasons(archive) == {"x.jpg#2": "bad_row", "x.jpg#3": "bad_row"}
        assert refusal(archive, "x.jpg#2") == "bad_row"


# Links, devices, bombs, locks


def test_links_and_devices_in_a_tar(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        add(file, "ok.jpg", b"1")
        for name, kind in (("s", tarfile.SYMTYPE), ("h", tarfile.LNKTYPE)):
            add(file, name, b"", kind, "/etc/passwd")
        for name, kind in (("f", tarfile.FIFOTYPE), ("c", tarfile.CHRTYPE), ("b", tarfile.BLKTYPE)):
            add(file, name, b"", kind)
        add(file, "folder", b"", tarfile.DIRTYPE)
        add(file, "last.jpg", b"2")
    assert reasons(tmp_path / "a.tar") == dict.fromkeys("shfcb", "unsafe_member")
    assert read_all(tmp_path / "a.tar") == {"ok.jpg": b"1", "last.jpg": b"2"}


def test_links_in_a_zip(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("link.jpg")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(info, "/etc/passwd")
    assert reasons(tmp_path / "a.zip") == {"link.jpg": "unsafe_member"}
    assert refusal(tmp_path / "a.zip", "link.jpg") == "unsafe_member"


def test_links_in_a_folder(tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "folder-outside"
    (folder / "a").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret.jpg").write_bytes(b"secret")
    (folder / "a" / "x.jpg").write_bytes(b"1")
    (folder / "within.jpg").symlink_to("a/x.jpg")
    (folder / "again").symlink_to("a")
    (folder / "out.jpg").symlink_to(outside / "secret.jpg")
    (folder / "out").symlink_to(outside)
    (folder / "nothing.jpg").symlink_to("gone.jpg")
    os.mkfifo(folder / "pipe.jpg")
    assert read_all(folder) == {"within.jpg": b"1", "a/x.jpg": b"1"}
    assert reasons(folder) == {
        "out.jpg": "unsafe_member",
        "out": "unsafe_member",
        "nothing.jpg": "missing_member",
        "pipe.jpg": "unsafe_member",
    }
    for name in ("out.jpg", "out/secret.jpg", "../folder-outside/secret.jpg", "/etc/passwd", "a/../../x", ""):
        assert refusal(folder, name) == "unsafe_member", name
    for name in ("gone.jpg", "nothing.jpg", "pipe.jpg", "a", "a/x.jpg/y", "n" * 300, "x\0.jpg"):
        assert refusal(folder, name) == "missing_member", name


def test_members_over_the_limit(tmp_path: Path) -> None:
    big = {"big.jpg": bytes(100_001), "ok.jpg": b"1"}
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "big.jpg").write_bytes(big["big.jpg"])
    pq.write_table(pa.table({"big.jpg": [big["big.jpg"]]}), tmp_path / "a.parquet")
    for archive, member in (
        (tmp_path / "folder", "big.jpg"),
        (make_tar(tmp_path / "a.tar", big), "big.jpg"),
        (make_zip(tmp_path / "stored.zip", big), "big.jpg"),
        (make_zip(tmp_path / "deflated.zip", big, zipfile.ZIP_DEFLATED), "big.jpg"),
        (tmp_path / "a.parquet", "big.jpg/0"),
    ):
        assert refusal(archive, member, max_bytes=100_000) == "too_large"
        with ArchiveReader(max_bytes=100_001) as reader:
            assert reader.read(str(archive), member) == big["big.jpg"]


def test_a_bomb_that_lies_about_its_size_stays_small_in_memory(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"x.jpg": bytes(200_000_000)}, zipfile.ZIP_DEFLATED)
    data = bytearray(archive.read_bytes())
    struct.pack_into("<I", data, data.find(b"PK\x01\x02") + 24, 100)
    archive.write_bytes(data)
    assert refusal(archive, "x.jpg", max_bytes=1_000_000) == "truncated"
    archive.write_bytes(data[: data.find(b"PK\x01\x02")])  # salvaged
    assert refusal(archive, "x.jpg", max_bytes=1_000_000) == "too_large"


def test_members_that_share_their_bytes(tmp_path: Path) -> None:
    """Many entries of the directory lead to one body: a few kilobytes that swell without end."""
    archive = make_zip(tmp_path / "a.zip", {f"{n}.jpg": bytes(1000) for n in range(4)}, zipfile.ZIP_DEFLATED)
    data = bytearray(archive.read_bytes())
    at = data.find(b"PK\x01\x02")
    starts = []
    while at >= 0:
        starts.append(at)
        at = data.find(b"PK\x01\x02", at + 4)
    struct.pack_into("<I", data, starts[2] + 42, struct.unpack_from("<I", data, starts[1] + 42)[0])
    struct.pack_into("<I", data, starts[0] + 20, 400)  # reaches into the next
    struct.pack_into("<I", data, 18, 400)
    archive.write_bytes(data)
    assert set(reasons(archive)) == {"0.jpg", "1.jpg", "2.jpg"} and reasons(archive)["0.jpg"] == "bomb"
    assert read_all(archive) == {"3.jpg": bytes(1000)}
    assert refusal(archive, "0.jpg") == "bomb"


def test_an_encrypted_member(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"x.jpg": b"1", "y.jpg": b"2"})
    data = bytearray(archive.read_bytes())
    for at, offset in ((0, 6), (data.find(b"PK\x01\x02"), 8)):
        data[at + offset] |= 1
    archive.write_bytes(data)
    (found, _) = listed(archive)
    assert found.reason == "bad_row" and "encrypted" in found.detail
    assert refusal(archive, "x.jpg") == "bad_row"
    assert refusal(archive, "x.jpg", 35, 1) == "bad_row"


# Damage


def test_a_tar_cut_anywhere(tmp_path: Path, content: Content) -> None:
    whole = make_tar(tmp_path / "whole.tar", content).read_bytes()
    places = {member.name: (member.offset or 0, member.n_bytes or 0) for member in members(tmp_path / "whole.tar")}
    archive = tmp_path / "a.tar"
    for length in range(512, sum(places[LONG]), 331):
        archive.write_bytes(whole[:length])
        found = listed(archive)
        assert {m.name for m in found if not m.reason} == {n for n, (at, size) in places.items() if at + size <= length}
        assert (
            found[-1].reason == "truncated" and found[-1].name.startswith("a.tar#") and "download" in found[-1].detail
        )
        cut = [name for name, (at, size) in places.items() if at <= length < at + size]
        assert [m.name for m in found if m.reason][:-1] == cut
        if cut:
            assert refusal(archive, cut[0]) == refusal(archive, cut[0], *places[cut[0]]) == "truncated"
    assert row_for(found[-1], archive)["reason"] == "truncated" and "a.tar" in str(row_for(found[-1], archive)["bad"])


def test_a_damaged_header_loses_one_member(tmp_path: Path, content: Content) -> None:
    archive = make_tar(tmp_path / "a.tar", content)
    second = listed(archive)[1]
    data = bytearray(archive.read_bytes())
    data[(second.offset or 0) - 512 + 130] ^= 0x04
    archive.write_bytes(data)
    assert read_all(archive) == {name: data for name, data in content.items() if name != second.name}
    assert list(reasons(archive).values()) == ["truncated"]


def test_a_damaged_extended_header_loses_one_member(tmp_path: Path, content: Content) -> None:
    archive = make_tar(tmp_path / "a.tar", content)
    data = archive.read_bytes()
    archive.write_bytes(data.replace(f" path={LONG}".encode(), f"\0path={LONG}".encode()))
    assert read_all(archive) == {name: data for name, data in content.items() if name != LONG}
    assert list(reasons(archive).values()) == ["truncated"]


def test_an_extended_header_without_end(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 8 * 2**30
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    assert list(reasons(tmp_path / "a.tar").values()) == ["truncated"]
    info.size = 0
    (tmp_path / "b.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) * 1000 + bytes(1024))
    assert "truncated" in reasons(tmp_path / "b.tar").values()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_cut_anywhere(tmp_path: Path, content: Content, method: int) -> None:
    whole = make_zip(tmp_path / "whole.zip", content, method).read_bytes()
    infos = zipfile.ZipFile(tmp_path / "whole.zip").infolist()
    ends = {i.filename: i.header_offset + 30 + len(i.filename.encode()) + i.compress_size for i in infos}
    archive = tmp_path / "a.zip"
    for length in range(40, len(whole) - 1, 331):
        archive.write_bytes(whole[:length])
        assert read_all(archive) == {name: content[name] for name, end in ends.items() if end <= length}
        if length < ends[LONG]:
            assert listed(archive)[-1].reason == "truncated"


def test_a_zip_cut_off_that_was_written_to_a_pipe(tmp_path: Path, content: Content) -> None:
    with (tmp_path / "a.zip").open("wb") as raw:
        pipe = io.BufferedWriter(_Pipe(raw))
        with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as file:
            for name, data in content.items():
                file.writestr(name, data)
        pipe.flush()
    data = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(data[: data.find(b"PK\x01\x02")])
    assert read_all(tmp_path / "a.zip") == content
    (tmp_path / "a.zip").write_bytes(data[: data.find(b"PK\x01\x02") - 30])
    assert list(read_all(tmp_path / "a.zip")) == list(content)[:-1]
    assert list(reasons(tmp_path / "a.zip").values()) == ["truncated", "truncated"]


def test_a_zip_within_a_zip_that_is_cut_off(tmp_path: Path, content: Content) -> None:
    """The directory of the one within is not taken for that of the one around it."""
    inner = make_zip(tmp_path / "inner.zip", {"inner.jpg": b"inner"}).read_bytes()
    whole = make_zip(tmp_path / "a.zip", content | {"inner.zip": inner}).read_bytes()
    (tmp_path / "a.zip").write_bytes(whole[: whole.rfind(b"inner.zip") - 46 - 200])
    assert "inner.jpg" not in read_all(tmp_path / "a.zip") and set(content) <= set(read_all(tmp_path / "a.zip"))


def test_a_flipped_bit_in_a_stored_picture(tmp_path: Path, content: Content) -> None:
    archive = make_zip(tmp_path / "a.zip", content)
    first = listed(archive)[0]
    data = bytearray(archive.read_bytes())
    data[(first.offset or 0) + 300] ^= 1
    archive.write_bytes(data)
    assert refusal(archive, first.name, first.offset, first.n_bytes) == "truncated"
    assert refusal(archive, first.name) == "truncated"


def test_a_place_that_is_no_members(tmp_path: Path, content: Content) -> None:
    """The zip's own header before the bytes, and then its directory, decide; a tar has neither."""
    archive = make_zip(tmp_path / "a.zip", content)
    first = listed(archive)[0]
    assert refusal(archive, "gone.jpg", 100, 50) == "missing_member"
    for offset in (0, 7, 2**40, -5):
        with ArchiveReader() as reader:
            try:
                assert reader.read(str(archive), first.name, offset, first.n_bytes) == content[first.name]
            except MemberError as error:
                assert error.reason == "truncated"
    assert refusal(make_tar(tmp_path / "a.tar", content), "x", 2**40, 10) == "truncated"
    assert refusal(make_tar(tmp_path / "a.tar", content), "x", -5, 10) == "truncated"


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.tar.gz", b"\x1f\x8b\x08\x00rest", "decompress it first:  gunzip --keep '"),
        ("a.tgz", b"\x1f\x8b\x08\x00rest", "gunzip --keep"),
        ("a.tar.zst", b"\x28\xb5\x2f\xfdrest", "unzstd"),
        ("a.tar", b"BZh9rest", "bunzip2"),
        ("a.tar", b"\xfd7zXZ\x00rest", "unxz"),
        ("a.zip", b"", "is empty (0 bytes)"),
        ("a.tar", b"", "is empty (0 bytes)"),
        ("a.zip", b"<!DOCTYPE html><html>sign in</html>", "not a zip: it looks like a web page"),
        ("a.tar", b'{"error": "expired"}', "not a tar: it looks like JSON"),
        ("a.zip", b"\xff\xd8\xff\xe0" + bytes(600), "looks like a JPEG picture"),
        ("a.tar", b"some text", "looks like text"),
        ("a.bin", bytes(range(256)) * 8, "neither a folder nor a zip, tar or Parquet file"),
        ("a.parquet", b"PAR1" + bytes(20), "ingest it with the source hf"),
    ],
)
def test_what_is_no_archive_is_told_in_one_line(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(data)
    assert said in complaint(tmp_path / name)


def test_a_suffix_that_is_not_the_files(tmp_path: Path, content: Content) -> None:
    make_tar(tmp_path / "a.zip", content)
    make_zip(tmp_path / "a.tar", content)
    assert "is not a zip: it looks like a tar: rename it to a.tar" in complaint(tmp_path / "a.zip")
    assert "is not a tar: it looks like a zip" in complaint(tmp_path / "a.tar")
    assert "no archive" in complaint(tmp_path / "gone.tar")
    with ArchiveReader() as reader, pytest.raises(CaptionlakeError, match="no archive"):
        reader.read(str(tmp_path / "gone.zip"), "x")
    assert read_all(make_tar(tmp_path / "shard-00001", content)) == content


# Parquet


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_cells_of_a_parquet_file(
    tmp_path: Path, tiles: Callable[[int], list[bytes]], version: str, compression: str
) -> None:
    data = [*tiles(120), None]
    table = pa.table(
        {
            "jpg": data,
            "image": [None if d is None else {"bytes": d[::-1], "path": "x"} for d in data],
            "large": pa.array(data, pa.large_binary()),
            "n": list(range(len(data))),
        }
    )
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, row_group_size=50, data_page_version=version, compression=compression)
    with ArchiveReader() as reader:
        for row in [*range(120), 60, 3, 119, 0, 55, 54]:
            assert reader.read(str(path), f"jpg/{row}") == data[row]
            assert reader.read(str(path), f"large/{row}") == data[row]
            assert reader.read(str(path), f"image.bytes/{row}") == (data[row] or b"")[::-1]
    for member in (
        "jpg/121",
        "jpg/-1",
        "jpg/x",
        "jpg/²",
        "gone/0",
        "jpg",
        "image/0",
        "jpg/120",
        "image.bytes/120",
        "jpg/" + "9" * 50,
    ):
        assert refusal(path, member) == "missing_member", member
    assert refusal(path, "n/0") == "truncated"


def test_a_parquet_file_that_is_cut_off(tmp_path: Path) -> None:
    pq.write_table(pa.table({"jpg": [b"1"]}), tmp_path / "whole.parquet")
    (tmp_path / "a.parquet").write_bytes((tmp_path / "whole.parquet").read_bytes()[:-20])
    with ArchiveReader() as reader, pytest.raises(CaptionlakeError, match=r"a\.parquet is not a whole Parquet file"):
        reader.read(str(tmp_path / "a.parquet"), "jpg/0")


def test_a_column_that_swells(tmp_path: Path) -> None:
    cell = bytes(30_000_000)
    pq.write_table(pa.table({"jpg": [cell] * 10}), tmp_path / "a.parquet", compression="zstd", use_dictionary=False)
    assert refusal(tmp_path / "a.parquet", "jpg/0") == "bomb"
