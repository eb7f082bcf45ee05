"""Signatures of turns: who vouches for a record, and whether it is still the record they vouched for (docs/record.md).

A signature stands in the notebook's header and lists the turns in order, each with the digest of its record. It is made with
an ed25519 key in the format of ``ssh-keygen -Y sign``, so that colleagues check it with a public key, with Claw or without.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

from claw_kernel.errors import SessionError
from claw_kernel.late_dataclass import dataclass
from claw_kernel.session.notebook import REPLACED_KEY

NAMESPACE = "claw-session"
"""What a signature is for: one that was made for git or for mail does not count here."""
KEY_FILE = "signing_key"
SIGNERS_FILE = "allowed_signers"

VerdictName: TypeAlias = Literal["signed", "unsigned", "edited", "unknown_key"]


@dataclass(frozen=True)
class Verdict:
    """``signed``: by a key that this person knows. ``unknown_key``: by another one, which proves nothing. ``edited``: what was
    signed is another record. ``signer``: the name that goes with the key, or its fingerprint."""

    name: VerdictName
    signer: str = ""


@dataclass(frozen=True)
class SessionVerdict:
    """``turns``: turn id to verdict, in the notebook's order. ``removed``: turns that someone this person knows has signed and
    that are gone. ``is_reordered``: the others stand in another order than they were signed in."""

    turns: dict[str, Verdict]
    removed: tuple[str, ...] = ()
    is_reordered: bool = False


def record_digest(document: Mapping[str, Any]) -> str:
    """``sha256:…`` of a record as JSON: the same for every way to write the same values. What is drawn with a record and is
    not part of it does not count."""
    return _digest({key: value for key, value in document.items() if key not in ("live", REPLACED_KEY)})


def verify(
    document: Mapping[str, Any], header: Mapping[str, Any] | None, signers: Mapping[str, str] | None = None
) -> Verdict:
    """Whether ``document``, a record as it stands in a notebook, is one that a known person has signed.

    ``signers``: public key to name (:func:`known_signers`); None: this user's, read from their settings' folder.
    """
    if signers is None:
        from claw_kernel.settings import load_settings

        signers = known_signers(load_settings().home)
    turn_id, digest = str(document.get("turn_id", "")), record_digest(document)
    is_edited = False
    stranger = ""
    for block in _blocks(header):
        listed = _listed(block)
        if turn_id not in listed:
            continue
        key = _signer(block, _session_id(header))
        if key in signers and listed[turn_id] == digest:
            return Verdict("signed", signers[key])
        if not key or key in signers or listed[turn_id] != digest:
            is_edited = True
        else:
            stranger = fingerprint(key)
    if is_edited:
        return Verdict("edited")
    return Verdict("unknown_key", stranger) if stranger else Verdict("unsigned")


def verify_session(
    documents: Iterable[Any], header: Mapping[str, Any] | None, signers: Mapping[str, str]
) -> SessionVerdict:
    """All records of a notebook in its order (both carriers of a turn count), and what is no longer among them."""
    found: dict[str, Verdict] = {}
    for document in documents:
        if not isinstance(document, Mapping):
            continue
        verdict, turn_id = verify(document, header, signers), str(document.get("turn_id", ""))
        if turn_id not in found or verdict.name == "edited":
            found[turn_id] = verdict
    removed: dict[str, None] = {}
    is_reordered = False
    for block in _blocks(header):
        if _signer(block, _session_id(header)) not in signers:
            continue
        listed = list(_listed(block))
        removed |= dict.fromkeys(turn_id for turn_id in listed if turn_id not in found)
        if [turn_id for turn_id in found if turn_id in listed] != [turn_id for turn_id in listed if turn_id in found]:
            is_reordered = True
    return SessionVerdict(found, tuple(removed), is_reordered)


def signed_header(
    documents: Iterable[Any], header: Mapping[str, Any], private_key: str, signed_at: str
) -> dict[str, Any]:
    """``header`` with a signature of all records; it takes the place of earlier ones by the same key, others' stay.

    The same object content comes back where that key has signed just these records already. Raises SessionError.
    """
    from claw_kernel._core import sign_message

    digests = {
        document["turn_id"]: record_digest(document)
        for document in documents
        if isinstance(document, dict) and isinstance(document.get("turn_id"), str)
    }
    body = {"turns": [f"{turn_id} {digest}" for turn_id, digest in digests.items()], "signed_at": signed_at}
    try:
        pem, key = sign_message(private_key, NAMESPACE, _message(body, _session_id(header)))
    except ValueError as error:
        raise SessionError(f"The key cannot be used: {error}.", "Give an ed25519 key without a passphrase.") from None
    blocks = _blocks(header)
    own = [block for block in blocks if _signer(block, _session_id(header)) == key]
    if len(own) == 1 and own[0].get("turns") == body["turns"]:
        return dict(header)
    text = "".join(line for line in pem.splitlines() if not line.startswith("-----"))
    kept = [block for block in blocks if block not in own]
    return {**header, "signatures": [*kept, {**body, "signature": text}]}


# --- keys -------------------------------------------------------------------------------------------------------------


def known_signers(home: str | Path, more: str | Path | None = None) -> dict[str, str]:
    """Public key (``ssh-ed25519 …``) to name: this user's own and those of ``allowed_signers`` in ``home`` (and in the file
    ``more``), in OpenSSH's format. A notebook or project has no say in it. Raises SessionError where a file cannot be read."""
    found: dict[str, str] = {}
    for path in (Path(home) / SIGNERS_FILE, Path(more) if more else None):
        if path is None or (path != more and not path.exists()):
            continue
        for line in _read(path).splitlines():
            parts = line.split()
            if "ssh-ed25519" in parts[1:-1] and not parts[0].startswith("#"):
                found.setdefault(" ".join(parts[(at := parts.index("ssh-ed25519")) : at + 2]), parts[0])
    own = Path(home) / f"{KEY_FILE}.pub"
    if own.exists():
        found[" ".join(_read(own).split()[:2])] = "you"
    return found


def signing_key(home: str | Path, name: str) -> str:
    """The text of this user's own key, made on first use (mode 0600, its public half beside it). Raises SessionError."""
    from claw_kernel._core import make_signing_key

    path = Path(home) / KEY_FILE
    if not path.exists():
        private, public = make_signing_key(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.with_suffix(".pub").write_text(public + "\n", encoding="utf-8")
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(private)
        except OSError as error:
            raise SessionError(f"{path} cannot be written: {error.strerror}.", "Mend the folder's rights.") from None
    return _read(path)


def fingerprint(public_key: str) -> str:
    """``SHA256:…`` as ``ssh-keygen -l`` shows it."""
    digest = hashlib.sha256(base64.b64decode(public_key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise SessionError(f"{path} cannot be read: {error}.", "Give another file.") from None


# --- what is signed ---------------------------------------------------------------------------------------------------


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no blanks, ASCII only; a number is written in one way, since front ends in JavaScript write 1.0
    as 1."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=True).encode("ascii")


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _digest(value: Any) -> str:
    return "sha256:" + hashlib.sha256(canonical(value)).hexdigest()


def _message(body: Mapping[str, Any], session_id: str) -> bytes:
    return canonical({"session_id": session_id, "turns": body.get("turns"), "signed_at": body.get("signed_at")})


def _session_id(header: Mapping[str, Any] | None) -> str:
    return str((header or {}).get("session_id", ""))


def _blocks(header: Mapping[str, Any] | None) -> Sequence[dict[str, Any]]:
    found = (header or {}).get("signatures")
    return [block for block in found if isinstance(block, dict)] if isinstance(found, list) else []


def _listed(block: Mapping[str, Any]) -> dict[str, str]:
    """Turn id to digest, in order."""
    turns = block.get("turns")
    pairs = [line.split(" ", 1) for line in turns if isinstance(line, str)] if isinstance(turns, list) else []
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def _signer(block: Mapping[str, Any], session_id: str) -> str:
    """The public key whose owner signed the block, or empty where nobody did."""
    return _checked(str(block.get("signature", "")), _message(block, session_id))


@lru_cache(maxsize=64)
def _checked(signature: str, message: bytes) -> str:
    from claw_kernel._core import signer_of

    lines = "\n".join(signature[at : at + 70] for at in range(0, len(signature), 70))
    try:
        return signer_of(f"-----BEGIN SSH SIGNATURE-----\n{lines}\n-----END SSH SIGNATURE-----\n", NAMESPACE, message)
    except ValueError:
        return ""
