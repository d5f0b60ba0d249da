"""One repository of the Hub, through huggingface_hub: its calls repeated where that may help, its errors told in one line."""

import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

from captionlake.errors import CaptionlakeError, require

T = TypeVar("T")
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_ATTEMPTS = 5
FIRST_WAIT, _LONGEST_WAIT = 1.0, 300.0  # seconds


class HubError(CaptionlakeError):
    """The Hub said no, or could not be reached. ``status``: of HTTP, None without an answer."""

    def __init__(self, message: str, status: int | None = None, wait: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.wait = wait  # seconds, as its Retry-After says

    @property
    def passes(self) -> bool:
        """Whether the same call may succeed later."""
        return self.status is None or self.status in _TRANSIENT


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a revision: ``sha256`` of one in large file storage, else git's ``blob_id``."""

    path: str
    size: int
    blob_id: str
    sha256: str | None


class Hub:
    """A repository of data sets or models. The token is HF_TOKEN's or the one huggingface_hub keeps, and nobody else's."""

    def __init__(self, repo_id: str, repo_type: str) -> None:
        hub = require("huggingface_hub", extra="cards")
        self.repo_id = repo_id
        self.repo_type = repo_type
        self.token: str | None = hub.get_token()
        self.api = hub.HfApi(token=self.token or False)
        self.endpoint: str = self.api.endpoint
        if not sys.stderr.isatty():
            hub.utils.disable_progress_bars()

    @property
    def url(self) -> str:
        """Where people look at it."""
        return f"{self.endpoint}/{'datasets/' if self.repo_type == 'dataset' else ''}{self.repo_id}"

    def call(self, what: str, function: Callable[..., T], *args: Any, attempts: int = _ATTEMPTS, **options: Any) -> T:
        """``function`` of the API, again after a rate limit, a server's error or a cut connection. Raises ``HubError``."""
        for attempt in range(1, attempts + 1):
            try:
                return function(*args, **options)
            except Exception as error:
                told = self._told(what, error)
                if told is None:
                    raise
                if attempt == attempts or not told.passes:
                    raise told from None  # the original carries the request, and with it the token
                time.sleep(pause(told, attempt))
        raise AssertionError("unreachable")

    def of_repo(self, what: str, function: Callable[..., T], *args: Any, **options: Any) -> T:
        """``call`` with this repository's id and type."""
        return self.call(what, function, self.repo_id, *args, repo_type=self.repo_type, **options)

    def _told(self, what: str, error: Exception) -> HubError | None:
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        if isinstance(error, OfflineModeIsEnabled):
            raise CaptionlakeError(
                f"{what} {self.repo_id}: HF_HUB_OFFLINE is set: unset it and run this again"
            ) from None
        if isinstance(error, HfHubHTTPError):
            status = error.response.status_code
            said = getattr(error, "server_message", None) or str(error)
            return HubError(
                f"{what} {self.repo_id}: the Hub answered {status} ({self._clean(said)}): {_advice(status)}",
                status,
                _seconds(error.response.headers.get("retry-after")),
            )
        module = type(error).__module__.split(".")[0]
        if module.startswith(("httpx", "httpcore")) or isinstance(error, ConnectionError | TimeoutError):
            return HubError(
                f"{what} {self.repo_id}: no whole answer from {self.endpoint} ({self._clean(type(error).__name__)}): "
                "check the connection and run the same command again"
            )
        if isinstance(error, RuntimeError):  # "Error while uploading", or of the library behind large files
            told = self._told(what, error.__cause__) if isinstance(error.__cause__, Exception) else None
            return told or HubError(f"{what} {self.repo_id}: {self._clean(str(error))}: run the same command again")
        return None

    def _clean(self, text: str) -> str:
        text = " ".join(text.split())[:300]
        text = text.replace(self.token, "…") if self.token else text
        return re.sub(r"hf_[A-Za-z0-9]{8,}", "…", text)

    def drop(self, what: str, function: Callable[..., object], **named: str) -> None:
        """Remove a branch or a tag; one that is gone is what was wanted, by an attempt whose answer was lost or by others."""
        try:
            self.of_repo(what, function, **named)
        except HubError as error:
            if error.status != 404:
                raise

    # Reading

    def exists(self) -> bool:
        """Whether the repository is there, for this token."""
        return bool(self.call("looking up", self.api.repo_exists, self.repo_id, repo_type=self.repo_type))

    def refs(self) -> tuple[dict[str, str], dict[str, str]]:
        """(branches, tags): commit by name. A tag's commit is that of its content, also where the tag is annotated."""
        refs = self.of_repo("listing branches of", self.api.list_repo_refs)
        return {r.name: r.target_commit for r in refs.branches}, {r.name: r.target_commit for r in refs.tags}

    def head(self, revision: str) -> str:
        """The commit of a branch or tag."""
        info = self.of_repo("reading", self.api.repo_info, revision=revision)
        return str(info.sha)

    def tree(self, revision: str) -> dict[str, RemoteFile]:
        """Every file of a revision by path."""
        return self.call("listing", self._tree, revision)

    def _tree(self, revision: str) -> dict[str, RemoteFile]:
        from huggingface_hub.hf_api import RepoFile

        entries = self.api.list_repo_tree(self.repo_id, recursive=True, revision=revision, repo_type=self.repo_type)
        return {
            e.path: RemoteFile(e.path, e.size, e.blob_id, e.lfs.sha256 if e.lfs else None)
            for e in entries
            if isinstance(e, RepoFile)
        }

    def is_private(self) -> bool:
        """Whether the repository is."""
        return bool(self.of_repo("reading", self.api.repo_info).private)

    def read(self, path: str, revision: str) -> bytes:
        """The bytes of a small file, downloaded anew."""
        return self.call(f"downloading {path} of", self._read, path, revision)

    def _read(self, path: str, revision: str) -> bytes:
        # Not hf_hub_download: where the server fails, it says that a file is not on this disk.
        from huggingface_hub import hf_hub_url

        utils: Any = import_module("huggingface_hub.utils")  # which says of no name that it exports it
        url = hf_hub_url(self.repo_id, path, repo_type=self.repo_type, revision=revision, endpoint=self.endpoint)
        answer = utils.get_session().get(url, headers=utils.build_hf_headers(token=self.token or False))
        utils.hf_raise_for_status(answer)
        return bytes(answer.content)


def pause(error: HubError, attempt: int) -> float:
    """Seconds until the next attempt: the server's, else 1, 2, 4, …"""
    return min(error.wait if error.wait is not None else FIRST_WAIT * 2 ** (attempt - 1), _LONGEST_WAIT)


def _seconds(header: str | None) -> float | None:
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:  # a date: the default waits do
        return None


def _advice(status: int) -> str:
    if status in (401, 403):
        return "use a token that may write there (hf auth login, or HF_TOKEN)"
    if status == 404:
        return "check the name, and that the token may see it"
    if status == 412:
        return "somebody else has pushed meanwhile: run the same command again"
    return "run the same command again" if status in _TRANSIENT else "mend that and run the same command again"
