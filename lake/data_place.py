"""Where a lake's tables and pictures lie: in its folder, or in a bucket that ``LAKE/storage.json`` names."""

import json
from datetime import timedelta
from pathlib import Path

import duckdb

from captionlake.errors import CaptionlakeError
from captionlake.lake.bucket import Bucket, endpoint_of_environment
from captionlake.lake.catalog import connect
from captionlake.lake.durable import replace_text
from captionlake.lake.local_storage import LocalStorage
from captionlake.lake.place import Place
from captionlake.lake.s3_storage import S3Storage
from captionlake.lake.storage import Storage

STORAGE = "storage.json"
_RETRIES = 5  # of DuckDB's requests, with waits of 0.1 s, 0.4 s and so on: half a minute in all


class DataPlace:
    """``data``: the files of tables. ``images``: the shards of pictures. ``bucket``: None where both lie in the lake's folder."""

    def __init__(self, lake: Path, bucket: Bucket | None = None) -> None:
        self.bucket = bucket
        self.data, self.images = (self._part(lake, name) for name in ("data", "images"))
        self._secret: str | None = None

    def _part(self, lake: Path, name: str) -> Storage:
        return LocalStorage(lake / name) if self.bucket is None else S3Storage(self.bucket, name)

    @classmethod
    def of(cls, lake: Path) -> "DataPlace":
        """Of the lake in a folder, by what it says of itself. Its endpoint gives way to one of the environment."""
        path = lake / STORAGE
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            url, endpoint = told["url"], told.get("endpoint")
        except FileNotFoundError:
            return cls(lake)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CaptionlakeError(
                f"{path} does not say where the lake's data lie: restore it from a backup"
            ) from error
        return cls(lake, Bucket(str(url), endpoint_of_environment() or endpoint))

    def note(self, lake: Path) -> None:
        """Write ``storage.json`` where there is a bucket, and see to it that there is none elsewhere."""
        if self.bucket is None:
            (lake / STORAGE).unlink(missing_ok=True)
        else:
            told = {"url": self.bucket.url, "endpoint": self.bucket.endpoint}
            replace_text(lake / STORAGE, json.dumps(told, indent=1) + "\n")

    def connect(self, place: Place, secret: str | None = None) -> duckdb.DuckDBPyConnection:
        """A connection that reads and writes there, with what a catalog at ``place`` needs.

        ``secret``: the SQL of ``Bucket.secret``, where another process has the credentials.
        """
        connection = connect(place, () if self.bucket is None else ("httpfs",))
        if (
            not place.shared
        ):  # else there are none, and PostgreSQL's extension does not attach without the store of them
            connection.execute("SET allow_persistent_secrets = false")
        if self.bucket is None:
            return connection
        connection.execute(f"SET http_retries = {_RETRIES}")
        self.refresh(connection, secret)
        return connection

    def refresh(self, connection: duckdb.DuckDBPyConnection, secret: str | None = None) -> None:
        """Hand DuckDB the credentials again where they changed, as those of a role do by the hour."""
        if self.bucket is None:
            return
        secret = secret or self.bucket.secret()
        if secret != self._secret:
            try:
                connection.execute(secret)
            except duckdb.Error:  # whose text has the statement in it
                raise CaptionlakeError(f"DuckDB does not take the credentials of {self.bucket.url}") from None
            self._secret = secret

    def abort_uploads(self, older_than: timedelta = timedelta(), *, dry_run: bool = False) -> int:
        """End what killed processes were uploading. Returns how many uploads."""
        return 0 if self.bucket is None else self.bucket.abort_uploads(older_than, dry_run=dry_run)

    def purge(self) -> int:
        """Remove for good what a versioned bucket keeps of files that were replaced or removed. Returns how many versions."""
        return 0 if self.bucket is None else self.bucket.purge()
