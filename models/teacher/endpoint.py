"""The endpoint: one client, its key, and one request at a time told as a reply or a reason."""

import ipaddress
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from captionlake.errors import CaptionlakeError, require
from captionlake.models.teacher.outcome import NoCaption, Outcome, Reply
from captionlake.models.teacher.reply import problem, read_reply, retry_after
from captionlake.models.teacher.teacher_config import TeacherConfig

if TYPE_CHECKING:
    from openai import AsyncOpenAI

OPENAI_URL = "https://api.openai.com/v1"
PLACEHOLDER = "no-key"
_CONNECT_SECONDS = 10.0
_REQUESTS_PER_CLIENT = 16  # a pool looks at all its connections for each request: many small ones take less


class Endpoint:
    """An OpenAI-compatible server. Make it and close it within the event loop that uses it."""

    def __init__(self, config: TeacherConfig) -> None:
        self._openai = require("openai", extra="captions")
        self.url = base_url(config)
        self._key_name, self._key = _key(config, self.url)
        self._tls = require("httpx2", extra="captions").create_ssl_context()  # takes 50 ms, so one for all
        n_clients = -(-config.max_concurrency // _REQUESTS_PER_CLIENT)
        self._clients = [self._client(config) for _ in range(n_clients)]
        self._in_flight = [0] * n_clients
        self.client: AsyncOpenAI = self._clients[0]

    def _client(self, config: TeacherConfig) -> "AsyncOpenAI":
        http = require("httpx2", extra="captions")  # openai's own
        limits = http.Limits(max_connections=None, max_keepalive_connections=2 * _REQUESTS_PER_CLIENT)
        timeout = http.Timeout(config.timeout_s, connect=min(_CONNECT_SECONDS, config.timeout_s))
        made: AsyncOpenAI = self._openai.AsyncOpenAI(
            api_key=self._key,
            base_url=self.url,
            max_retries=0,  # each attempt is ours to count
            timeout=timeout,
            http_client=self._openai.DefaultAsyncHttpxClient(
                limits=limits, timeout=timeout, base_url=self.url, verify=self._tls
            ),
        )
        return made

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            await client.close()

    async def ask(self, body: bytes) -> Reply:
        """Send one chat completion, its JSON ready made. Raises ``NoCaption``."""
        least = min(range(len(self._clients)), key=self._in_flight.__getitem__)
        self._in_flight[least] += 1
        try:
            data = await self._clients[least].post("/chat/completions", cast_to=bytes, content=body, options=_AS_JSON)
        except self._openai.OpenAIError as error:
            raise self.failure(error) from None  # its chain holds the request, and that the key
        finally:
            self._in_flight[least] -= 1
        try:
            return self.redacted(read_reply(data))
        except NoCaption as failure:
            failure.detail = self.without_key(failure.detail)
            raise

    def failure(self, error: Exception) -> NoCaption:
        """What an exception of the client means, the key nowhere in it."""
        openai: Any = self._openai
        if isinstance(error, openai.APIStatusError):
            body = error.body if error.body is not None else error.response.text[:2000]
            made = problem(error.status_code, body, retry_after(error.response.headers))
        elif isinstance(error, openai.APITimeoutError) and "Connect" not in type(error.__cause__).__name__:
            made = NoCaption(Outcome.TIMEOUT, "no reply in time")
        elif isinstance(error, openai.APIConnectionError):
            made = _connection(error.__cause__)
        else:
            made = NoCaption(Outcome.INVALID_REPLY, type(error).__name__)
        made.detail = self.without_key(made.detail)
        made.args = (f"{made.outcome}: {made.detail}",)
        return made

    def redacted(self, reply: Reply) -> Reply:
        """The reply without the key, which a server could send back."""
        clean = self.without_key
        if self._key not in f"{reply.text}{reply.revision}{reply.finish_reason}":
            return reply
        revision = clean(reply.revision) if reply.revision else None
        return Reply(
            clean(reply.text), clean(reply.finish_reason) if reply.finish_reason else None, revision, reply.usage
        )

    def without_key(self, text: str) -> str:
        """The text with three stars for the key."""
        return text.replace(self._key, "***") if self._key != PLACEHOLDER else text

    def stopped(self, outcome: Outcome, detail: str, model: str) -> CaptionlakeError:
        """The error with which a run ends that no other row could mend."""
        if outcome is Outcome.ENDPOINT_DOWN:
            return CaptionlakeError(f"no endpoint answers at {self.url} ({detail}): start it, or mend base_url")
        if outcome is Outcome.UNAUTHORIZED:
            named = f"the key in {self._key_name}" if self._key_name else "a request without a key (set api_key_env)"
            return CaptionlakeError(f"{self.url} refuses {named} ({detail}): check that variable and its rights")
        if outcome is Outcome.NO_CREDIT:
            return CaptionlakeError(
                f"{self.url} says that the account has no credit ({detail}): top it up, run this again"
            )
        if outcome is Outcome.NO_IMAGES:
            return CaptionlakeError(f"the model {model} at {self.url} takes no images ({detail}): choose one that sees")
        if outcome is Outcome.MODEL_NOT_FOUND:
            return CaptionlakeError(f"{self.url} has no model {model} ({detail}): mend model or base_url")
        return CaptionlakeError(f"{self.url} refuses every request ({detail}): mend the request's parameters")


_AS_JSON: Any = {"headers": {"Content-Type": "application/json"}}


def base_url(config: TeacherConfig) -> str:
    """Where requests go."""
    return (config.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL).rstrip("/")


def is_local(url: str) -> bool:
    """Whether an address is this machine or one of its own network."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith((".local", ".localhost", ".internal")):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host  # a machine or container of one's own network
    return address.is_private or address.is_loopback


def _key(config: TeacherConfig, url: str) -> tuple[str | None, str]:
    """The variable's name and the key: OPENAI_API_KEY goes nowhere but to OpenAI, or where the user's environment says."""
    name = config.api_key_env
    if name is None:
        host = urlsplit(url).hostname or ""
        theirs = host == "openai.com" or host.endswith(".openai.com")
        if not theirs and is_local(url):
            return None, PLACEHOLDER
        if not theirs and config.base_url is not None:
            raise CaptionlakeError(
                f"{url} is not OpenAI's: name the environment variable that holds its key, api_key_env"
            )
        name = "OPENAI_API_KEY"
    key = os.environ.get(name, "").strip()
    if not key:
        raise CaptionlakeError(f"no key for {url}: set the environment variable {name}, or name another as api_key_env")
    if not key.isascii() or not key.isprintable():
        raise CaptionlakeError(f"the value of {name} is no key (it holds characters that no header takes): set it anew")
    return name, key


def _connection(cause: BaseException | None) -> NoCaption:
    name = type(cause).__name__
    if name.startswith(("Connect", "UnsupportedProtocol", "Proxy")):
        return NoCaption(Outcome.ENDPOINT_DOWN, " ".join(str(cause).split()) or name)
    return NoCaption(Outcome.HALF_REPLY, f"the connection broke ({name})")
