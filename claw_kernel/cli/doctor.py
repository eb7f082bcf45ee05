"""``claw doctor``: what is installed and at work, and how to mend what is not. Asks no model; makes nothing but the state directory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from claw_kernel.cli import DONE, FAILED
from claw_kernel.cli.arguments import Parser
from claw_kernel.cli.finding import Finding
from claw_kernel.errors import ClawError

if TYPE_CHECKING:
    from claw_kernel.settings import Settings

_MARKS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


def run(arguments: list[str]) -> int:
    """Exit code 1 where anything failed. Raises UsageError."""
    parser = Parser(
        "doctor",
        "Check installation, settings, model providers, kernels, the JupyterLab extension and the sandbox, and say how to\n"
        "mend what is missing. Keys are named by their variable, never shown. Exit code 1 where something failed.",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.read(arguments)
    findings: list[Finding] = []
    for finding in examine():
        findings.append(finding)
        if not options.json:
            print(f"{_MARKS[finding.state]}  {finding.topic:<14} {finding.message}", flush=True)
            for number, line in enumerate(finding.remedy.splitlines()):
                print(f"{'':22}{'  · ' if number else '→ '}{line}")
    is_ok = not any(finding.state == "fail" for finding in findings)
    if options.json:
        print(json.dumps({"ok": is_ok, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        count = {state: sum(finding.state == state for finding in findings) for state in _MARKS}
        print(f"\n{count['ok']} ok, {count['warn']} to know about, {count['fail']} failed")
    return DONE if is_ok else FAILED


def examine() -> Iterator[Finding]:
    """All findings, each as soon as it is known."""
    from claw_kernel.cli import installation, surroundings

    yield from _examined("packages", installation.packages)
    yield from _examined("native core", installation.native_core)
    settings: list[Settings] = []
    yield from _examined("settings", lambda: surroundings.settings(settings))
    if settings:
        yield from _examined("state", lambda: surroundings.state_directory(settings[0]))
        yield from _examined("model", lambda: surroundings.providers(settings[0]))
    yield from _examined("kernels", installation.kernels)
    yield from _examined("labextension", installation.labextension)
    yield from _examined("sandbox", surroundings.sandbox)


def _examined(topic: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from check()
    except ClawError as error:
        yield Finding(topic, "fail", error.message, error.remedy)
    except Exception as error:  # whatever is broken on this machine must not keep the other findings from being made
        yield Finding(topic, "fail", f"could not be checked: {type(error).__name__}: {error}")
