"""From what a server answered (or did not) to one of our errors, with a line for the person and the remedy."""

from __future__ import annotations

import json
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import field
from errno import ECONNREFUSED
from math import isfinite
from socket import gaierror
from typing import Any
from urllib.parse import urlsplit

from claw_kernel.errors import (
    AuthError,
    ContentFilterError,
    ContextOverflowError,
    InvalidRequestError,
    ModelNotFoundError,
    NetworkError,
    OverloadedError,
    ProtocolError,
    ProviderError,
    QuotaError,
    RateLimitError,
    ServerError,
)
from claw_kernel.late_dataclass import dataclass
from claw_kernel.providers.catalogue import ModelCard, describe_family
from claw_kernel.providers.known import KnownProvider

_LONGEST_MESSAGE = 300
_LONGEST_JUDGED = 8_000
"""Characters of what a server said: bounded, since some patterns look far ahead."""

_OVERFLOW_PHRASES = (
    r"prompt is too long|prompt exceeds max",  # Anthropic; z.ai
    r"input is too long",  # Bedrock
    r"request_too_large|request exceeds the maximum size",  # Anthropic 413
    r"context_length_exceeded|maximum context length|exceeds? the context window",  # OpenAI, vLLM, OpenRouter
    r"input token count .* exceeds the maximum",  # Gemini
    r"maximum prompt length is \d+",  # xAI
    r"reduce the length of the (messages|prompt)",  # Groq
    r"exceed_context_size_error|exceeds the available context size",  # llama.cpp
    r"greater than the context length|context length of only",  # LM Studio
    r"exceed(s|ed)? (the )?(model'?s? )?(context|token) (limit|length|window)",  # Kimi, MiniMax, Together
    r"too large for model with \d+ maximum context",  # Mistral
    r"prompt has \d+ tokens, but the configured context size is",  # other servers around llama.cpp
    r"exceeds the limit of \d+ tokens|prompt token count of \d+ exceeds",  # GitHub Copilot
    r"tokens? (limit|count) (is )?exceed|exceeds? the maximum (number of )?(input )?tokens",  # z.ai, DashScope
    r"range of input length should be",  # DashScope
    r"longer than the model'?s context length",  # SGLang
    r"context (window|length) (exceeded|exceeds)|too many (input )?tokens in",  # common forms
)
# Patterns are compiled on the first error, not at import.
_OVERFLOW = "(?i)" + "|".join(_OVERFLOW_PHRASES)
_QUOTA = (
    r"(?i)insufficient_quota|exceeded your current quota|credit balance|insufficient (balance|credits?|funds)"
    r"|billing_error|billing hard limit|payment required|spend(ing)? limit|usage limit"
)
_FILTERED = (
    r"(?i)content_filter|content management policy|responsibleaipolicy|content[_ ]policy"
    r"|(flagged|blocked) (by|for|as)\b.{0,60}(content|safety|moderation|usage polic)|moderation_blocked"
)
"""Azure, OpenAI, gateways: the prompt is refused as content, not for its form."""
_PASSING_QUOTA = r"(?i)(retry|try again) (in|after) \d|per[ _-]?minute"
"""Some call a limit per minute a quota."""
_NO_MODEL = (
    r"(?is)model_not_found|no such model|(unknown|invalid) model|not a valid model"
    r"|model\b.{0,120}\b(not found|does not exist|not exist|not available|is not supported|decommissioned)"
)


@dataclass(frozen=True)
class Server:
    """Who is asked, as the messages name it. ``variable``: where its key came from; ``key`` is cut out of every message.
    ``models``: what the user's settings say of models. ``version``: of its API, where its path names one."""

    known: KnownProvider
    base_url: str
    variable: str = ""
    key: str = field(default="", repr=False)
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    version: str = ""
    _cards: dict[str, ModelCard] = field(default_factory=dict, repr=False, compare=False)

    @property
    def name(self) -> str:
        return self.known.name

    @property
    def shown(self) -> str:
        """The address without a name and password in it."""
        parts = urlsplit(self.base_url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    def card(self, model: str) -> ModelCard:
        """What is known of a model it serves, without the price table."""
        if model not in self._cards:  # asked for several times for each request
            self._cards[model] = describe_family(f"{self.name}/{model}", self.models)
        return self._cards[model]

    def headers(self, usual: str = "authorization") -> dict[str, str]:
        """The header with the key; ``usual``: the one of the wire format."""
        if not self.key:
            return {}
        name = self.known.key_header or usual
        return {name: f"Bearer {self.key}" if name == "authorization" else self.key}

    def clean(self, text: str) -> str:
        """One line of what the server said, shortened, without the key."""
        if len(self.key) >= 4:
            text = text.replace(self.key, "[key]")
        text = " ".join(text.split())
        return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + "…"


def read_status(server: Server, model: str, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """The error for a response that is not 200."""
    if 300 <= status < 400:
        return InvalidRequestError(
            f"{server.shown} redirects to {server.clean(headers.get('location', 'another address'))}.",
            "Use that address as the base URL if you trust it: a key is never sent on to another host.",
            status=status,
        )
    value = _read_json(body)
    kind, said = error_text(value)
    has_object = isinstance(value, dict) and isinstance(value.get("error"), dict)
    if not said and not has_object and not _is_html(headers, body):
        said = body[:2000].decode("utf-8", "replace")
    if status in {400, 413} and not body.strip():  # Cerebras; whatever else is refused has its reason beside it
        return ContextOverflowError(
            f"{server.name} refused the request without a word ({status}), as servers do when the conversation is too long.",
            "Clear the session or choose a model with a larger context.",
            status=status,
        )
    error = _classify(server, model, status, kind, said)
    # Whoever says so knows; the official clients obey it too. What is too long stays too long.
    told = headers.get("x-should-retry")
    if told in {"true", "false"} and not isinstance(error, ContextOverflowError):
        error.is_retryable = told == "true"
    if status in {429, 503, 529} or error.is_retryable:
        error.retry_after_seconds = read_retry_after(headers)
    return error


def read_error_object(server: Server, model: str, value: Any) -> ProviderError:
    """The error for an error object inside a 200 response. Its own code stands in for the status."""
    kind, said = error_text(value)
    error = value.get("error") if isinstance(value, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    status = next((int(c) for c in (code, kind) if isinstance(c, int) or (isinstance(c, str) and c.isdecimal())), 0)
    if not status:
        words = f"{kind} {code or ''}".lower()
        status = next((known for word, known in _STATUS_OF_WORD if word in words), 500)
    return _classify(server, model, status, f"{kind} {code or ''}", said)


_STATUS_OF_WORD = (
    ("overloaded", 529),
    ("rate_limit", 429),
    ("authentication", 401),
    ("api_key", 401),
    ("permission", 403),
    ("not_found", 404),
    ("too_large", 413),
    ("context_length", 400),
    ("content_filter", 400),
    ("invalid_request", 400),
    ("billing", 402),
    ("quota", 402),
)


def _classify(server: Server, model: str, status: int, kind: str, said: str) -> ProviderError:
    """Judged by all that was said, of which the person reads the beginning: gateways put long words before the provider's."""
    name, both = server.name, " ".join(f"{kind} {said[:_LONGEST_JUDGED]}".split())
    said = server.clean(said)
    tail = f": {said.rstrip('.')}" if said else ""
    # A rate may be called a limit of tokens, and what was too much for it is none the shorter for a summary.
    if (re.search(_OVERFLOW, both) and status != 429) or (status == 413 and "rate" not in both):
        overflow = ContextOverflowError(
            f"The conversation is longer than {name}/{model} takes{tail}.",
            "Clear the session or choose a model with a larger context.",
            status=status,
        )
        overflow.window_tokens, overflow.room_tokens = _read_room(both)
        return overflow
    if status in {400, 403, 422} and re.search(_FILTERED, both):
        return ContentFilterError(
            f"{name} refused the content of this conversation ({status}){tail}.",
            "Put it in other words, clear the session, or choose another model.",
            status=status,
        )
    is_quota = status in {400, 403, 429} and re.search(_QUOTA, both)
    if status == 402 or (is_quota and not (status == 429 and re.search(_PASSING_QUOTA, both))):
        return QuotaError(
            f"{name} says the account has no quota or credit left ({status}){tail}.",
            "Add credit at the provider, or choose another model.",
            status=status,
        )
    if status in {401, 403}:
        if not server.key:
            variable = server.known.key_variables[0] if server.known.key_variables else "the key"
            return AuthError(f"{name} at {server.shown} wants a key ({status}).", f"Set {variable}.", status=status)
        where = f" Keys: {server.known.keys_url}" if server.known.keys_url else ""
        what = "refused the key in" if status == 401 else "does not allow this with the key in"
        is_stored = server.variable not in server.known.key_variables
        mend = f"Run `claw login {server.known.name}`" if is_stored else f"Set {server.variable} to a valid key"
        return AuthError(
            f"{name} {what} {server.variable} ({status}).",
            f"{mend}, then run this again.{where}",
            status=status,
        )
    if (status == 404 and "model" in both.lower()) or (status in {400, 422} and re.search(_NO_MODEL, both)):
        return ModelNotFoundError(
            f"{name} does not know the model {model!r} ({status}).",
            f"Choose another, such as one that {server.shown} lists, with `%claw model` or --model.",
            status=status,
        )
    if status in {404, 405}:
        return InvalidRequestError(
            f"There is no such service at {server.shown} ({status}).",
            "Check the base URL and the API (anthropic, openai-chat, openai-responses).",
            status=status,
        )
    if status == 429:
        return RateLimitError(
            f"{name} limits the rate of requests ({status}){tail}.",
            "Wait a little, or choose another model.",
            status=status,
        )
    if status in {503, 529}:
        return OverloadedError(f"{name} is overloaded ({status}).", "Try again in a while.", status=status)
    if status >= 500 or status in {408, 409, 425}:
        return ServerError(f"{name} failed ({status}){tail}.", "Try again in a while.", status=status)
    is_limit = "max_tokens" in said or "max_completion_tokens" in said or "max_output_tokens" in said
    return InvalidRequestError(
        f"{name} refused the request ({status}){tail}.",
        "Set max_tokens to what the model can write (`%claw config`), or choose another model."
        if is_limit
        else "If it persists, clear the session or choose another model.",
        status=status,
    )


_ROOM = (
    r"(?P<prompt>\d+) \+ \d+ > (?P<window>\d+)"  # Anthropic: prompt + max_tokens > window
    r"|maximum context length (is|of) (?P<window2>\d+).*?(?P<prompt2>\d+) (tokens )?(in the messages|in your prompt|input tokens"
    r"|of text input|from the input|of the input)"  # OpenAI, vLLM, OpenRouter
    r"|maximum context length (is|of) (?P<window3>\d+)"
)
_LEAST_ROOM_TOKENS = 1_024


def _read_room(said: str) -> tuple[int | None, int | None]:
    """The window and what the prompt leaves of it, from the words of an overflow."""
    found = re.search(_ROOM, said)
    if found is None:
        return None, None
    numbers = found.groupdict()
    window = int(numbers["window"] or numbers["window2"] or numbers["window3"])
    prompt = numbers["prompt"] or numbers["prompt2"]
    room = window - int(prompt) if prompt else 0
    return window, room if room >= _LEAST_ROOM_TOKENS else None


def read_wrong_content(server: Server, model: str, content_type: str, body: bytes) -> ProviderError:
    """The error for a 200 response that is neither an event stream nor a whole answer."""
    value = _read_json(body)
    told = value[0] if isinstance(value, list) and value else value  # Gemini wraps it in a list
    if isinstance(told, dict) and told.get("error"):
        return read_error_object(server, model, told)
    is_named = content_type and "event-stream" not in content_type
    what = (
        "a web page"
        if _is_html({"content-type": content_type}, body)
        else content_type
        if is_named
        else "something else"
    )
    return ProtocolError(
        f"{server.shown} answered with {what} instead of a stream of events.",
        "Check the base URL, the API, and whether a login page or proxy is in the way.",
        status=200,
    )


def read_network(server: Server, error: BaseException) -> ProviderError:
    """The error for a request that found no server, or lost it."""
    import httpx

    causes = list(_causes(error))
    host = urlsplit(server.base_url).hostname
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return NetworkError(
            f"The TLS connection to {host} failed: {server.clean(str(causes[-1]))}.",
            "Check the clock and, behind a company proxy, set SSL_CERT_FILE to its certificate.",
            is_retryable=False,
        )
    if isinstance(error, httpx.ProxyError):
        remedy = "Check HTTPS_PROXY and ALL_PROXY, or name the host in NO_PROXY."
        return NetworkError(f"{server.clean(str(error))}.", remedy, is_retryable=False)
    # A name with several addresses gives one OSError that tells of all of them.
    if any(isinstance(c, ConnectionRefusedError) or f"[Errno {ECONNREFUSED}]" in str(c) for c in causes):
        hint = server.known.start_hint
        remedy = f"Start the server (`{hint}`)" if hint else "Start the server"
        return NetworkError(
            f"Nothing answers at {server.shown} (connection refused).",
            f"{remedy} or check the base URL.",
            is_retryable=False,
        )
    if any(isinstance(cause, gaierror) for cause in causes):
        return NetworkError(f"The name {host} cannot be found.", "Check the network connection and the base URL.")
    return NetworkError(
        f"The connection to {server.name} at {server.shown} was lost ({type(causes[-1]).__name__}).",
        "Check the network and try again.",
    )


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        cause = waiting.pop(0)
        if cause is None or any(cause is known for known in found):
            continue
        found.append(cause)
        waiting += [cause.__cause__, cause.__context__]
        if isinstance(cause, BaseExceptionGroup):
            waiting += cause.exceptions
    return found


def error_text(value: Any) -> tuple[str, str]:
    """Kind and message of the many shapes of error objects."""
    if isinstance(value, list) and value:  # Gemini wraps it in a list
        value = value[0]
    if not isinstance(value, dict):
        return "", ""
    error = value.get("error", value)
    if isinstance(error, str):
        return "", error
    if not isinstance(error, dict):
        return "", ""
    kind = " ".join(str(error[key]) for key in ("type", "code", "status") if error.get(key))
    said = error.get("message") or error.get("detail") or value.get("message") or ""
    raw = (error.get("metadata") or {}).get("raw") if isinstance(error.get("metadata"), dict) else None  # OpenRouter
    return kind, str(raw or said) if isinstance(raw or said, str) else json.dumps(raw or said)


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from ``retry-after-ms`` or ``retry-after`` as a number or an HTTP date; None where it says nothing."""
    from email.utils import parsedate_to_datetime

    text = headers.get("retry-after", "")
    for value, unit in ((headers.get("retry-after-ms", ""), 0.001), (text, 1.0)):
        try:
            seconds = float(value) * unit
        except (ValueError, RecursionError):
            continue
        if isfinite(seconds):
            return max(seconds, 0.0)
    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError):
        return None


def _read_json(body: bytes) -> Any:
    if body.startswith(b"data:"):  # gateways that write an error as a stream too
        body = body.removeprefix(b"data:").partition(b"\n")[0]
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _is_html(headers: Mapping[str, str], body: bytes) -> bool:
    return "html" in headers.get("content-type", "") or body.lstrip()[:1] == b"<"
