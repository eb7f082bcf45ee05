"""``claw session``: what a person does with the session that a notebook file holds. Each word is one function here."""

from __future__ import annotations

import getpass
import json
import socket
from collections.abc import Callable

from claw_kernel.cli import DONE, FAILED, UsageError, nearest
from claw_kernel.cli.arguments import Parser
from claw_kernel.errors import SessionError
from claw_kernel.question import printable

UNSIGNED, UNKNOWN_KEY = 4, 5
"""Exit codes of ``verify``: a turn that nobody signed · one signed with a key that is not known here."""
NO_SESSION, NEWER = 6, 7
"""Exit codes of ``check``: the notebook holds no session · a newer version of Claw wrote it."""


def run(arguments: list[str]) -> int:
    """Raises UsageError and SessionError."""
    match arguments:
        case [] | ["-h" | "--help"]:
            print("usage: claw session WORD NOTEBOOK …\n")
            print("\n".join(f"  {name:<8} {purpose}" for name, (purpose, _) in WORDS.items()))
            print("\nSee claw session WORD --help.")
            return DONE
        case [word, *rest] if word in WORDS:
            return WORDS[word][1](rest)
        case [word, *_]:
            raise UsageError(f"unknown word {word!r}{nearest(word, list(WORDS))} See claw session --help.")
        case _:
            raise AssertionError(arguments)


def _sign(arguments: list[str]) -> int:
    from claw_kernel.session.notebook import notebook_header, notebook_records
    from claw_kernel.session.notebook_file import NotebookFile, with_member
    from claw_kernel.session.session import now
    from claw_kernel.session.signature import KEY_FILE, signed_header, signing_key
    from claw_kernel.settings import load_settings

    parser = Parser(
        "session sign",
        "Vouch for the turns a notebook holds, as they are now. The signature stands in the notebook's metadata.",
        f"Without --key a key of Claw's own is used, made on first use: ~/.claw/{KEY_FILE}. Colleagues put the line that is\n"
        "printed into their ~/.claw/allowed_signers. Close the notebook in the editor first, or reload it afterwards.",
    )
    parser.add_argument("notebook", metavar="NOTEBOOK")
    parser.add_argument("--key", metavar="FILE", help="an ed25519 key of OpenSSH without a passphrase")
    options = parser.read(arguments)
    home = load_settings().home
    notebook = NotebookFile(options.notebook)
    records, header = notebook_records(notebook.document), notebook_header(notebook.document)
    if not records:
        print(f"{options.notebook} holds no turns of Claw: nothing was signed.")
        return FAILED
    name = f"{getpass.getuser()}@{socket.gethostname()}"
    key = _key_text(options.key) if options.key else signing_key(home, name)
    signed = signed_header(records, header or {}, key, now())
    if signed != header:
        notebook.write(with_member(notebook.text, ("metadata", "claw", "signatures"), signed["signatures"]))
    count = len(signed["signatures"][-1]["turns"])
    print(f"{options.notebook}: {count} {'turn' if count == 1 else 'turns'} signed.")
    print(f"{name} {_public_line(key)}")
    return DONE


def _verify(arguments: list[str]) -> int:
    from claw_kernel.session.notebook import read_notebook
    from claw_kernel.session.signature import known_signers, verify_session
    from claw_kernel.settings import load_settings

    parser = Parser(
        "session verify",
        "Say of each turn of a notebook who signed it, and whether it was changed since.",
        "Exit codes: 0 all signed by known keys, 1 edited, removed or reordered, 4 unsigned turns, 5 signed by unknown keys.",
    )
    parser.add_argument("notebook", metavar="NOTEBOOK")
    parser.add_argument("--signers", metavar="FILE", help="more keys to accept, in the format of ssh's allowed_signers")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.read(arguments)
    records, header = read_notebook(options.notebook)
    found = verify_session(records, header, known_signers(load_settings().home, options.signers))
    if options.json:
        turns = {turn_id: {"verdict": v.name, "signer": v.signer} for turn_id, v in found.turns.items()}
        print(json.dumps({"turns": turns, "removed": found.removed, "is_reordered": found.is_reordered}, indent=1))
    else:
        for turn_id, verdict in found.turns.items():
            by = f" by {verdict.signer}" if verdict.signer else ""
            print(printable(f"{turn_id}  {verdict.name.replace('_', ' ')}{by}"))
        for turn_id in found.removed:
            print(printable(f"{turn_id}  removed"))
        if found.is_reordered:
            print("The turns stand in another order than they were signed in.")
        if not found.turns and not found.removed:
            print(f"{options.notebook} holds no turns of Claw.")
    names = {verdict.name for verdict in found.turns.values()}
    if "edited" in names or found.removed or found.is_reordered:
        return FAILED
    return UNKNOWN_KEY if "unknown_key" in names else UNSIGNED if "unsigned" in names else DONE


def _scrub(arguments: list[str]) -> int:
    from claw_kernel.session.notebook_file import NotebookFile
    from claw_kernel.session.scrubbing import scrub_text
    from claw_kernel.settings import load_settings

    parser = Parser(
        "session scrub",
        "Take secrets out of a notebook: values of your environment's keys and tokens in every usual spelling, and what has\n"
        "the form of a known kind of token. Every other byte stays. Signed turns that change have to be signed again.",
        "Exit codes: 0 nothing (more) to find, 1 with --check: something was found.",
    )
    parser.add_argument("notebooks", metavar="NOTEBOOK", nargs="+")
    parser.add_argument("--check", action="store_true", help="only say what is there")
    parser.add_argument(
        "--backup", action="store_true", help="keep the file as it was beside it (NOTEBOOK.before-scrub)"
    )
    parser.add_argument("--values", metavar="FILE", help="more secrets, one a line; - reads them from standard input")
    options = parser.read(arguments)
    notebooks = [NotebookFile(name) for name in options.notebooks]
    values = [*load_settings().secrets(), *(_lines(options.values) if options.values else ())]
    count = 0
    for name, notebook in zip(options.notebooks, notebooks, strict=True):
        cleaned, found = scrub_text(notebook.text, values)
        count += len(found)
        for finding in found:
            print(f"{name}:{finding.line}: {finding.kind}")
        if found and not options.check:
            json.loads(cleaned)  # whatever happens, a notebook stays one
            backup = notebook.path.with_name(notebook.path.name + ".before-scrub") if options.backup else None
            notebook.write(cleaned, backup)
            if backup is not None:
                print(f"The file as it was, secrets included: {backup}")
        print(f"{name}: {len(found) or 'nothing'} {'found' if options.check else 'removed'}.")
    return FAILED if count and options.check else DONE


def _lines(path: str) -> list[str]:
    import sys
    from pathlib import Path

    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}.") from None
    return [line for line in text.splitlines() if line]


def _check(arguments: list[str]) -> int:
    from dataclasses import asdict

    from claw_kernel.session.check import check_session
    from claw_kernel.session.notebook import read_notebook

    parser = Parser(
        "session check",
        "Say whether the session that a notebook holds is whole: records, their order, calls and their results, both carriers.",
        "Exit codes: 0 whole, 1 damaged, 2 no notebook, 6 it holds no session, 7 written by a newer Claw.",
    )
    parser.add_argument("notebook", metavar="NOTEBOOK")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.read(arguments)
    try:
        documents, header = read_notebook(options.notebook)
    except SessionError as error:
        raise UsageError(str(error)) from None
    found = check_session(documents, header)
    if options.json:
        problems = [{**asdict(problem), "is_harmless": problem.is_harmless} for problem in found.problems]
        summary = {"is_whole": found.is_whole, "turns": found.turns, "formats": found.formats, "problems": problems}
        print(json.dumps(summary, indent=1))
    else:
        for problem in found.problems:
            print(printable(f"{problem.kind}: {problem.turn_id or 'session'}: {problem.message}"))
        count = len(found.turns)
        print(
            f"{options.notebook}: {count} {'turn' if count == 1 else 'turns'}, {'whole' if found.is_whole else 'damaged'}."
        )
    if any(problem.kind == "format" for problem in found.problems):
        return NEWER
    if not found.is_whole:
        return FAILED
    return DONE if found.turns or header else NO_SESSION


def _key_text(path: str) -> str:
    from pathlib import Path

    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"the key {path} cannot be read: {error}.") from None


def _public_line(private_key: str) -> str:
    from claw_kernel._core import sign_message

    return sign_message(private_key, "claw-name", b"")[1]


WORDS: dict[str, tuple[str, Callable[[list[str]], int]]] = {
    "check": ("say whether the session it holds is whole", _check),
    "sign": ("vouch for a notebook's turns with your key", _sign),
    "scrub": ("take secrets out of a notebook, or only look for them (--check)", _scrub),
    "verify": ("say who signed its turns, and whether they were changed since", _verify),
}
"""Purpose and function of each word, in the order of the help page."""
