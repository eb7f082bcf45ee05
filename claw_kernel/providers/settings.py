"""What a provider needs to know from outside. Nothing in this package reads ``os.environ``: the mapping is passed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any, Literal, TypeAlias

from claw_kernel.late_dataclass import dataclass

Api: TypeAlias = Literal["anthropic", "openai-chat", "openai-responses"]


@dataclass(frozen=True)
class Timeouts:
    """Seconds. 120 s of silence is what the slowest large models need between two frames; hosted providers send
    keep-alives well before. Keep-alives alone are listened to for ``silent_seconds``. A server on this machine gets ``local_first_byte_seconds``: it may be reading a long prompt
    on a CPU, and 600 s is the request limit of the official clients of hosted models."""

    connect_seconds: float = 10.0
    first_byte_seconds: float = 120.0
    idle_seconds: float = 120.0
    local_first_byte_seconds: float = 600.0
    silent_seconds: float = 600.0


@dataclass(frozen=True)
class Retries:
    """How often and how long to wait.

    0.5 s doubling to 8 s with up to 25 % taken off are the numbers of the official Anthropic and OpenAI clients, and so
    is 60 s as the longest Retry-After that is waited for; they stop after 2 retries, which a rate limit of a busy minute
    outlasts, so 4 here (as Codex does for requests).
    """

    limit: int = 4
    first_seconds: float = 0.5
    longest_seconds: float = 8.0
    jitter: float = 0.25
    patience_seconds: float = 60.0


@dataclass(frozen=True)
class ProviderSettings:
    """``env``: the environment to look for keys in. ``base_url`` and ``api`` override the provider's own (``--base-url``,
    ``--api``). ``cwd``: what ``scripted/<path>`` and ``recorded/<path>`` are relative to. ``aliases`` and ``models``: see
    ``catalogue.py``. ``home``: the user's own folder, where keys of ``claw login`` are looked for (empty:
    nowhere); ``when_key_read`` is told each of them. ``ca_file``: certificates (PEM) that servers may show besides the usual
    ones. ``is_accepting_edits``: calls of a record that was edited by hand may run."""

    env: Mapping[str, str] = field(default_factory=dict)
    base_url: str | None = None
    api: Api | None = None
    cwd: str = "."
    aliases: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    home: str = ""
    ca_file: str = ""
    when_key_read: Callable[[str], object] | None = field(default=None, compare=False)
    is_accepting_edits: bool = False
    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
