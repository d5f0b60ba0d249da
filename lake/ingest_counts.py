"""What one ingest counted."""

from dataclasses import dataclass, field

from captionlake.lake.store import Stored


@dataclass(slots=True)
class IngestCounts:
    """What one ingest listed and did: ``listed`` is the sum of the nine counts below, unless another process stored some rows."""

    source: str = ""
    collection: str = ""
    listed: int = 0
    present: int = 0  # in the lake already
    failed_before: int = 0  # and not tried again
    not_tried: int = 0  # neither present nor failed, while only failed rows were asked for
    repeated: int = 0  # the same key again in the same list
    taken_down: int = 0  # kept out, as their key or URL was taken down
    images: int = 0  # new rows, fetched or read
    copied: int = 0  # new rows of URLs that the lake had fetched
    failures: int = 0
    matched: int = 0  # rows of released captions whose picture the lake has
    captions: int = 0
    conversations: int = 0  # new ones, of an export of conversations
    fetched: int = 0  # of ``images``, those by URL
    fetch_seconds: float = 0.0
    seconds: float = 0.0
    reasons: dict[str, int] = field(default_factory=dict)
    archives: dict[str, int] = field(default_factory=dict)  # rows listed by archive

    def add(self, stored: Stored, rows: int) -> None:
        """Count what a batch of so many rows stored; another process may just have stored the rest of them."""
        self.present += rows - stored.images - stored.failures
        self.images += stored.images
        self.captions += stored.captions
        self.failures += stored.failures

    def add_part(self, part: "IngestCounts") -> None:
        """Count a part of the same ingest."""
        for name in _SUMMED:
            setattr(self, name, getattr(self, name) + getattr(part, name))
        self.archives |= part.archives


_SUMMED = (
    *(
        "listed",
        "present",
        "failed_before",
        "not_tried",
        "repeated",
        "taken_down",
        "images",
        "copied",
        "failures",
        "captions",
    ),
    *("fetched", "fetch_seconds"),
)
