"""The errors of the engine, each with one line for the person and the remedy.

ClawError
├── SettingsError            a settings file, option or rule that cannot be read
├── SessionError             a record that cannot be read or is of a newer format
└── ProviderError            what a model's server (or the way to it) did
    ├── AuthError            key missing, wrong or without rights            never retried
    ├── ModelNotFoundError   the provider does not know the model            never retried
    ├── InvalidRequestError  the provider refused the request                never retried
    ├── ContentFilterError   the provider will not take what is said         never retried
    ├── ContextOverflowError the transcript does not fit the model           never retried
    ├── QuotaError           money or quota is used up                       never retried
    ├── RateLimitError       429; ``retry_after_seconds`` where it was said  retried
    ├── OverloadedError      529, 503                                        retried
    ├── ServerError          other 5xx                                       retried
    ├── NetworkError         DNS, refused, TLS, reset, time-out              retried, TLS and refused excepted
    ├── StreamError          the stream ended or stalled before its end      retried before a completed block
    ├── ProtocolError        the server answered with something else         retried once
    └── RecordEndError       a recorded session has no further answer        never retried
"""

from __future__ import annotations

from claw_kernel.messages import TurnError


def sentence(text: str) -> str:
    """``text`` with a full stop, where it has no end of its own: what another program or a cell said may have one."""
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


class ClawError(Exception):
    """``message`` says what is wrong, ``remedy`` what to do; both are single sentences without a key or token."""

    kind = "error"

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()

    def to_turn_error(self) -> TurnError:
        """The same, as it is stored and drawn."""
        return TurnError(self.kind, self.message, self.remedy)


class SettingsError(ClawError):
    kind = "settings"


class SessionError(ClawError):
    kind = "session"


class ProviderError(ClawError):
    """``is_retryable``: the same request may succeed later. ``status``: HTTP status where there was one."""

    kind = "provider"
    is_retryable = False

    def __init__(
        self, message: str, remedy: str = "", *, status: int | None = None, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message, remedy)
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class AuthError(ProviderError):
    kind = "auth"


class ModelNotFoundError(ProviderError):
    kind = "model_not_found"


class InvalidRequestError(ProviderError):
    kind = "invalid_request"


class ContentFilterError(ProviderError):
    kind = "content_filter"


class ContextOverflowError(ProviderError):
    """``window_tokens``: what prompt and answer may have together; ``room_tokens``: what the prompt leaves of it for an answer,
    where that is enough to go on with. None where the server did not say."""

    kind = "context_overflow"
    window_tokens: int | None = None
    room_tokens: int | None = None


class QuotaError(ProviderError):
    kind = "quota"


class RateLimitError(ProviderError):
    kind = "rate_limit"
    is_retryable = True


class OverloadedError(ProviderError):
    kind = "overloaded"
    is_retryable = True


class ServerError(ProviderError):
    kind = "server"
    is_retryable = True


class NetworkError(ProviderError):
    kind = "network"

    def __init__(self, message: str, remedy: str = "", *, is_retryable: bool = True) -> None:
        super().__init__(message, remedy)
        self.is_retryable = is_retryable


class StreamError(ProviderError):
    kind = "stream"
    is_retryable = True


class ProtocolError(ProviderError):
    kind = "protocol"
    is_retryable = True


class RecordEndError(ProviderError):
    kind = "record_end"
