"""A prefix of a bucket behind the S3 protocol: its client, its credentials, and its errors in one line.

Credentials are taken where AWS's own programs look: ``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY``, the credentials file with
``AWS_PROFILE``, then the role of the machine, pod or task. They go into requests and into DuckDB's memory, and nowhere else.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from captionlake.errors import CaptionlakeError
from captionlake.lake.catalog import quote

if TYPE_CHECKING:
    from minio import Minio
    from minio.credentials import Credentials, Provider

_AWS = "s3.amazonaws.com"
_RETRIES = 8  # waits of 0.5 s to 20 s between them, over a minute in all: a server restarts in that time
_URL = re.compile(
    r"s3://[a-z0-9][a-z0-9.-]+[a-z0-9](/[A-Za-z0-9._=-]+)*/?"
)  # nothing that URLs or file patterns read otherwise
_REFUSED = frozenset(
    {
        *(
            "AccessDenied",
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "ExpiredToken",
            "InvalidToken",
            "TokenRefreshRequired",
        ),
        *("AuthorizationHeaderMalformed", "AccountProblem", "AllAccessDisabled", "InvalidSecurity", "403"),
    }
)


@dataclass(slots=True)
class Bucket:
    """``url``: ``s3://BUCKET/PREFIX``. ``endpoint``: of another server than AWS's, such as ``http://127.0.0.1:9000``.

    Can be handed to other processes: each opens connections of its own.
    """

    url: str
    endpoint: str | None = None
    _opened: "tuple[int, Minio, Provider] | None" = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not _URL.fullmatch(self.url):
            raise CaptionlakeError(
                "that is no place in a bucket: give  s3://BUCKET/PREFIX  of letters, digits, - . _ = and /"
            )
        self.url = self.url.rstrip("/")
        if self.endpoint is not None:
            server = urlsplit(self.endpoint)
            if server.scheme not in ("http", "https") or not server.hostname or server.path.strip("/"):
                raise CaptionlakeError("the endpoint of the bucket is no URL of a server: give  https://HOST:PORT")
            if server.username or server.password:
                raise CaptionlakeError("the endpoint of the bucket holds a password: give it in AWS_SECRET_ACCESS_KEY")

    def __getstate__(self) -> tuple[str, str | None]:
        return self.url, self.endpoint

    def __setstate__(self, state: tuple[str, str | None]) -> None:
        self.url, self.endpoint = state
        self._opened = None

    @property
    def name(self) -> str:
        """The bucket's own name."""
        return urlsplit(self.url).netloc

    @property
    def prefix(self) -> str:
        """Of the lake's keys, without slashes at its ends."""
        return urlsplit(self.url).path.strip("/")

    def key(self, name: str) -> str:
        """The key of a name under the prefix."""
        return f"{self.prefix}/{name}" if self.prefix else name

    @property
    def client(self) -> "Minio":
        """Safe for threads; another one in a process that was forked."""
        return self._open()[0]

    def credentials(self) -> "Credentials":
        """As they are now: those of a role are fetched again before they end."""
        provider = self._open()[1]
        with self.told("credentials"):
            return provider.retrieve()

    def _open(self) -> "tuple[Minio, Provider]":
        if self._opened is None or self._opened[0] != os.getpid():
            provider = _provider()
            self._opened = os.getpid(), _client(self.endpoint, provider), provider
        return self._opened[1:]

    def secret(self) -> str:
        """SQL that gives DuckDB the credentials, for this prefix alone."""
        held = self.credentials()
        told = {"KEY_ID": held.access_key, "SECRET": held.secret_key, "REGION": region()}
        if held.session_token:
            told["SESSION_TOKEN"] = held.session_token
        more = ""
        if self.endpoint is not None:
            server = urlsplit(self.endpoint)
            told |= {"ENDPOINT": server.netloc, "URL_STYLE": "path"}
            more = f", USE_SSL {str(server.scheme == 'https').lower()}"
        values = ", ".join(f"{name} {quote(value)}" for name, value in told.items())
        return (
            f"CREATE OR REPLACE TEMPORARY SECRET lake_bucket (TYPE s3, {values}{more}, SCOPE {quote(self.url + '/')})"
        )

    @contextmanager
    def told(self, what: str) -> Iterator[None]:
        """Errors of the server, the network and the credentials as ``CaptionlakeError``.

        What a server says beside its code is not repeated: it may hold a key.
        """
        from minio.error import MinioException, S3Error
        from urllib3.exceptions import HTTPError

        try:
            yield
        except S3Error as error:
            raise CaptionlakeError(self._refusal(error, what)) from None
        except MinioException as error:
            raise CaptionlakeError(f"{self.url}, {what}: {type(error).__name__}: run this again") from None
        except HTTPError as error:
            reason = getattr(error, "reason", None) or error
            raise CaptionlakeError(
                f"{self.endpoint or _AWS} does not answer ({type(reason).__name__}), {what}: look at the network and at "
                "AWS_ENDPOINT_URL, and run this again"
            ) from None
        except ValueError as error:
            if "credential" not in str(error).lower() and "provider" not in str(error).lower():
                raise
            raise CaptionlakeError(
                f"no credentials for {self.url}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            ) from None

    def _refusal(self, error: Any, what: str) -> str:
        if error.code in _REFUSED:
            return (
                f"{self.url} refuses the credentials ({error.code}), {what}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                "or AWS_PROFILE, of one who may read and write there"
            )
        if error.code == "NoSuchBucket":
            return f"there is no bucket {self.name} at {self.endpoint or _AWS}: make it, or look at AWS_ENDPOINT_URL"
        if error.code in ("NoSuchKey", "NoSuchVersion"):
            return f"{self.url}/{what} is missing: restore it from a backup"
        return f"{self.url}, {what}: {error.code}: run this again"

    def abort_uploads(self, older_than: timedelta = timedelta(), *, dry_run: bool = False) -> int:
        """End the uploads in parts that began so long ago and were never completed. Returns how many."""
        before, found = datetime.now(UTC) - older_than, 0
        markers: dict[str, Any] = {}
        with self.told("uploads"):
            while True:
                # The client keeps this call to itself, and has no public one.
                listed = self.client._list_multipart_uploads(
                    self.name, prefix=self.key(""), max_uploads=1000, **markers
                )
                for upload in listed.uploads:
                    if upload.initiated_time is None or upload.initiated_time <= before:
                        found += 1
                        if not dry_run and upload.upload_id:
                            self.client._abort_multipart_upload(self.name, upload.object_name, upload.upload_id)
                if not listed.is_truncated:
                    return found
                markers = {"key_marker": listed.next_key_marker, "upload_id_marker": listed.next_upload_id_marker}

    def former_versions(self, name: str = "") -> Iterator[tuple[str, str]]:
        """(key, version) of what a versioned bucket keeps of objects that were replaced or removed, of all whose name begins so."""
        with self.told("versions"):
            for one in self.client.list_objects(self.name, prefix=self.key(name), recursive=True, include_version=True):
                if one.version_id and (
                    str(one.is_latest).lower() != "true" or one.is_delete_marker
                ):  # "null": from before versions were kept
                    yield one.object_name, one.version_id

    def purge(self, name: str = "") -> int:
        """Remove the former versions for good. Returns how many there were."""
        found = list(self.former_versions(name))
        with self.told("versions"):
            for key, version in found:
                self.client.remove_object(self.name, key, version_id=version)
        return len(found)


def region() -> str:
    """The region that requests are signed for."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"


def endpoint_of_environment() -> str | None:
    """The server that AWS's own programs would ask."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def _provider() -> "Provider":
    try:
        from minio.credentials import AWSConfigProvider, ChainedProvider, EnvAWSProvider, IamAwsProvider
    except ImportError as error:
        raise CaptionlakeError("a lake in a bucket needs more packages: run  pip install 'captionlake[s3]'") from error
    import urllib3

    chain: list[Provider] = [EnvAWSProvider(), AWSConfigProvider()]
    if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() != "true":
        quick = urllib3.PoolManager(timeout=urllib3.Timeout(connect=1, read=5), retries=urllib3.Retry(total=1))
        chain.append(IamAwsProvider(http_client=quick))
    return ChainedProvider(chain)


def _client(endpoint: str | None, provider: "Provider") -> "Minio":
    import urllib3
    from minio import Minio

    server = urlsplit(endpoint or f"https://{_AWS}")
    http = urllib3.PoolManager(
        maxsize=64,
        timeout=urllib3.Timeout(connect=10, read=60),
        retries=urllib3.Retry(
            total=_RETRIES,
            backoff_factor=0.5,
            backoff_max=20,
            status_forcelist=(500, 502, 503, 504),
            raise_on_status=False,
        ),
        cert_reqs="CERT_REQUIRED",
        ca_certs=os.environ.get("AWS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or _certificates(),
    )
    return Minio(
        server.netloc, secure=server.scheme == "https", region=region(), http_client=http, credentials=provider
    )


def _certificates() -> str:
    import certifi

    return certifi.where()
