"""Releases opened as data: which samples there are, and what is refused."""

from pathlib import Path

from captionlake.models.data import ReleaseData


def test_a_release_of_images(made: Path) -> None:
    data = ReleaseData.open(made / "lake", "tiles@1.0.0")
    assert (len(data), data.missing, data.left_out) == (38, 2, {"no caption": 2})
    print(data[0].turns, data[0].key, data[4], data.text_chars(), data.modalities())
    data = ReleaseData.open(made / "lake", "mix@1.0.0")
    print(len(data), data.left_out, [ (s.key, s.turns, len(s.images)) for s in map(data.__getitem__, range(len(data)))])
    print(data.modalities(), data.text_chars())
    assert 0
