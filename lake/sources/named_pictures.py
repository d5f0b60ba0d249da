"""The pictures of archives by name, for sources whose annotation files name them."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from captionlake.lake.archives import Member, row_for
from captionlake.lake.reasons import FailureReason
from captionlake.lake.sources.picture_files import picture_members
from captionlake.lake.sources.source import Row

_TROUBLES = (FailureReason.BAD_ROW, FailureReason.TRUNCATED)


class NamedPictures:
    """An index of all archives given, by file name or, ``by_stem``, by file name without its suffix.

    Where one name stands in several folders, the path that is asked for decides; the same path in two archives is taken from
    the first.
    """

    def __init__(self, archives: Sequence[str], *, by_stem: bool = False) -> None:
        self._by_stem = by_stem
        self._archives = [Path(name) for name in archives]
        self._found: list[dict[str, Member | list[Member]]] = []
        self._troubles: list[tuple[Path, Member]] = []
        for archive in self._archives:
            names: dict[str, Member | list[Member]] = {}
            for member in picture_members(archive):
                if member.reason in _TROUBLES:
                    self._troubles.append((archive, member))
                    continue
                key = self._key(member.name)
                known = names.get(key)
                if known is None:
                    names[key] = member
                elif isinstance(known, list):
                    known.append(member)
                else:
                    names[key] = [known, member]
            self._found.append(names)

    def __bool__(self) -> bool:
        return bool(self._archives)

    def row(self, name: str, *paths: str) -> Row:
        """The archive's part of a row for the picture ``name``; ``paths`` are fuller names that choose among several."""
        key = self._key(name)
        found: list[tuple[Path, Member]] = []
        for archive, names in zip(self._archives, self._found, strict=True):
            known = names.get(key)
            found += [(archive, each) for each in (known if isinstance(known, list) else [known]) if each is not None]
        if len({member.name for _, member in found}) > 1:
            for path in (*paths, name):
                same = [item for item in found if f"/{item[1].name}".endswith(f"/{path}")]
                if same:
                    found = same
                    break
        if len({member.name for _, member in found}) > 1:
            what = " and ".join(member.name for _, member in found[:3])
            where = found[0][0]
            return {
                "archive": str(where),
                "member": name,
                "bad": f"several pictures are named {self._key(name)}: {what}",
            }
        return row_for(found[0][1], found[0][0]) if found else self._missing(name)

    def _missing(self, name: str) -> Row:
        for archive, member in self._troubles:
            if member.reason is FailureReason.TRUNCATED:
                return {
                    "archive": str(archive),
                    "member": name,
                    "bad": f"{name}: not in what is left of {archive.name}, which is cut off or damaged",
                    "reason": FailureReason.TRUNCATED,
                }
        where = ", ".join(archive.name for archive in self._archives)
        return {
            "archive": str(self._archives[0]),
            "member": name,
            "bad": f"{name}: not in {where}",
            "reason": FailureReason.MISSING_MEMBER,
        }

    def troubles(self) -> Iterator[Row]:
        """Rows, all bad, for the parts of archives that are lost and for second members under one name."""
        for archive, member in self._troubles:
            yield {"source_key": f"{archive.name}:{member.name}", "meta": "{}", **row_for(member, archive)}

    def each(self) -> Iterator[tuple[str, Row]]:
        """(name or stem, the archive's part of its row) of all pictures, as the archives have them."""
        for archive, names in zip(self._archives, self._found, strict=True):
            for key, known in names.items():
                for member in known if isinstance(known, list) else [known]:
                    yield key, row_for(member, archive)

    def _key(self, name: str) -> str:
        base = name.rpartition("/")[2]
        return PurePosixPath(base).stem if self._by_stem else base
