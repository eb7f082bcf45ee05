"""Secrets in notebook files that were written before: found in every JSON string, and taken out with all else left as it was."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable

from claw_kernel.late_dataclass import dataclass
from claw_kernel.session.packing import pack, unpack

MARK = "[secret]"
_PACKED = "eJ"
"""How base64 of zlib's form begins at the level that ``packing`` uses."""

_TOKENS = {
    "private key": r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----[^-]*(?:-----END (?:[A-Z0-9]+ )*PRIVATE KEY-----)?",
    "Anthropic key": r"\bsk-ant-[A-Za-z0-9_-]{20,}",
    "OpenAI key": r"\bsk-(?:proj-|svcacct-|or-v1-)?[A-Za-z0-9_-]{32,}",
    "Stripe key": r"\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}",
    "GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,})",
    "GitLab token": r"\bgl(?:pat|ptt|dt|rt)-[A-Za-z0-9_-]{20,}",
    "AWS key id": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "Google key": r"\bAIza[A-Za-z0-9_-]{35}",
    "Slack token": r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    "Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}",
    "npm token": r"\bnpm_[A-Za-z0-9]{36}",
    "PyPI token": r"\bpypi-AgE[A-Za-z0-9_-]{50,}",
    "SendGrid key": r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
    "JSON web token": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
}
"""Kinds of secrets that show by their form, as their issuers document it (github.com, docs.gitlab.com, docs.aws.amazon.com …)."""
_TOKEN = re.compile("|".join(f"({pattern})" for pattern in _TOKENS.values()))
_NAMES = tuple(_TOKENS)

# Strings that stand in a list one behind the other: nbformat keeps texts of several lines so.
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_RUN = re.compile(rf"{_STRING}(?:\s*,\s*{_STRING}(?!\s*:))*")
_ONE = re.compile(_STRING)


@dataclass(frozen=True)
class Finding:
    """Something secret in a file. ``kind``: what it is; ``line``: of the file, from 1."""

    kind: str
    line: int


def scrub_text(text: str, values: Iterable[str]) -> tuple[str, list[Finding]]:
    """The JSON document ``text`` without secrets, and what was found. Secret are the ``values``, in every usual spelling
    (``rust_core/src/secret``), and what has the form of a known kind of token. Doing it twice changes nothing more."""
    from claw_kernel._core import Secrets

    redact = Secrets(list(values)).redact
    found: list[Finding] = []
    parts: list[str] = []
    at = line = 0
    counted = 0
    for run in _RUN.finditer(text):
        raw = run.group()
        kinds: list[str] = []
        cleaned = _clean_run(raw, redact, kinds)
        if cleaned == raw:
            continue
        line += text.count("\n", counted, run.start())
        counted = run.start()
        found += [Finding(kind, line + 1) for kind in kinds]
        parts += [text[at : run.start()], cleaned]
        at = run.end()
    return ("".join([*parts, text[at:]]) if parts else text), found


def _clean_run(raw: str, redact: Callable[[str], str], kinds: list[str]) -> str:
    literals = _ONE.findall(raw)
    lines = [_read(literal) for literal in literals]
    if len(lines) < 2 or not all(line.endswith("\n") for line in lines[:-1]):
        return _ONE.sub(lambda match: _clean_literal(match.group(), redact, kinds), raw)
    # One text in several lines: a key in a block of its own, or what is wrapped, shows only in the whole.
    whole = "".join(lines)
    cleaned = _clean(whole, redact, kinds)
    if cleaned == whole:
        return raw
    between = _ONE.split(raw)[1]
    return between.join(_literal(line, literals[0]) for line in cleaned.splitlines(keepends=True))


def _clean_literal(literal: str, redact: Callable[[str], str], kinds: list[str]) -> str:
    value = _read(literal)
    cleaned = _clean(value, redact, kinds)
    return literal if cleaned == value else _literal(cleaned, literal)


def _clean(value: str, redact: Callable[[str], str], kinds: list[str]) -> str:
    if len(value) < 8:
        return value
    if value.startswith(_PACKED) and (text := unpack(value)) is not None:
        cleaned = _clean(text, redact, kinds)
        return value if cleaned == text else pack(cleaned)
    try:
        cleaned = redact(value)
    except UnicodeEncodeError:  # half of a surrogate pair, which is no text
        cleaned = value
    if cleaned != value:
        kinds.append("a known value")
    return _TOKEN.sub(lambda match: _take(match, kinds), cleaned)


def _take(match: re.Match[str], kinds: list[str]) -> str:
    kinds.append(_NAMES[(match.lastindex or 1) - 1])
    return MARK


def _read(literal: str) -> str:
    return str(json.loads(literal)) if "\\" in literal else literal[1:-1]


def _literal(value: str, like: str) -> str:
    return json.dumps(value, ensure_ascii=like.isascii())
