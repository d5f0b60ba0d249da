"""A prefix of a bucket as a storage. A picture is one ranged GET; a file is put in whole, by one PUT or by an upload in parts."""

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from captionlake.errors import CaptionlakeError
from captionlake.lake.bucket import Bucket
from captionlake.lake.freed import Freed
from captionlake.lake.storage import Entry, RangeReader, Storage

_GAP = 2**20  # a request takes about as long as a megabyte
_TRIES = 3  # of an upload as a whole, beside those of its requests
_TRANSIENT = frozenset({"InternalError", "NoSuchUpload", "RequestTimeout", "ServiceUnavailable", "SlowDown"})


class S3Reader(RangeReader):
    """Ranged GETs."""

    gap = _GAP

    def __init__(self, storage: "S3Storage") -> None:
        self._storage = storage

    def read(self, name: str, offset: int, n_bytes: int) -> bytes:
        if not n_bytes:
            return b""
        bucket = self._storage.bucket
        with bucket.told(self._storage.name(name)):
            response = bucket.client.get_object(bucket.name, self._storage.key(name), offset, n_bytes)
            try:
                data: bytes = response.read()
            finally:
                response.close()
                response.release_conn()
        return data

    def close(self) -> None:
        """Nothing is open: the connections are the bucket's."""


class S3Storage(Storage):
    """What lies under ``folder`` of the bucket's prefix."""

    numbered = False

    def __init__(self, bucket: Bucket, folder: str) -> None:
        self.bucket = bucket
        self.folder = folder
        self.url = f"{bucket.url}/{folder}" if folder else bucket.url

    def name(self, name: str) -> str:
        """As it is told to the user, under the bucket's URL."""
        return f"{self.folder}/{name}" if self.folder else name

    def key(self, name: str) -> str:
        """The key of a file."""
        return self.bucket.key(self.name(name))

    def reader(self) -> S3Reader:
        return S3Reader(self)

    def size(self, name: str) -> int | None:
        from minio.error import S3Error

        with self.bucket.told(self.name(name)):
            try:
                size: int | None = self.bucket.client.stat_object(self.bucket.name, self.key(name)).size
            except S3Error as error:
                if error.code in ("NoSuchKey", "NoSuchObject"):
                    return None
                raise
        return size

    def sizes(self, names: Iterable[str]) -> dict[str, int]:
        """By listing, a request for a thousand files."""
        wanted = set(names)
        return {one.name: one.n_bytes for one in self.entries() if one.name in wanted} if wanted else {}

    def entries(self) -> Iterator[Entry]:
        root = self.key("")
        with self.bucket.told(self.folder):
            for one in self.bucket.client.list_objects(self.bucket.name, prefix=root, recursive=True):
                if not one.is_dir:
                    yield Entry(one.object_name.removeprefix(root), one.size, one.last_modified.timestamp())

    def put(self, path: Path, name: str) -> None:
        """An upload that fails is aborted, and nothing of it is visible."""
        from minio.error import S3Error
        from urllib3.exceptions import HTTPError

        with self.bucket.told(self.name(name)):
            for attempt in range(1, _TRIES + 1):
                try:
                    self.bucket.client.fput_object(self.bucket.name, self.key(name), str(path))
                    break
                except (S3Error, HTTPError) as error:
                    if attempt == _TRIES or (isinstance(error, S3Error) and error.code not in _TRANSIENT):
                        raise
        path.unlink()

    def remove(self, name: str) -> None:
        with self.bucket.told(self.name(name)):
            self.bucket.client.remove_object(self.bucket.name, self.key(name))

    @contextmanager
    def changing(self, name: str, staging: Path) -> Iterator[Path]:
        """A copy in ``staging``, put in the place of the object; a versioned bucket's former versions are removed."""
        copy = staging / f"{uuid.uuid4().hex}.parquet"
        self.fetch(name, copy)
        try:
            yield copy
            self.put(copy, name)
            self.bucket.purge(self.name(name))
        finally:
            copy.unlink(missing_ok=True)

    def fetch(self, name: str, path: Path) -> None:
        """A copy of a file, at ``path``."""
        with self.bucket.told(self.name(name)):
            self.bucket.client.fget_object(self.bucket.name, self.key(name), str(path))

    def freed(self, names: Iterable[str]) -> Freed:
        wanted = list(names)
        return Freed(len(wanted), sum(self.sizes(wanted).values()))


def refuse_used(storage: S3Storage) -> None:
    """Raise where something lies there already."""
    found = next((one.name for one in storage.entries()), None)
    if found is not None:
        raise CaptionlakeError(f"{storage.url} is not empty ({found}): choose another prefix")
