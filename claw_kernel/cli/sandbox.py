"""``claw sandbox``: a person's own command in the sandbox that a model's commands get, and what this machine gives of it."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from claw_kernel.cli import DONE, FAILED, TERMINATED, UsageError
from claw_kernel.cli.arguments import Parser

NOT_FOUND = 127
"""Exit code where the program is not there, as shells have it."""


def run(arguments: list[str]) -> int:
    """Raises UsageError."""
    match arguments:
        case ["run", *rest]:
            return _run(rest)
        case ["check", *rest]:
            Parser(
                "sandbox check", "Say what of the sandbox this machine gives. Exit code 1 where something is missing."
            ).read(rest)
            return _check()
        case [] | ["-h" | "--help"]:
            print(
                "usage: claw sandbox run [options] -- COMMAND …\n       claw sandbox check\n\nSee claw sandbox run --help."
            )
            return DONE
        case [other, *_]:
            raise UsageError(f"claw sandbox has run and check, but was given {other!r}. See claw sandbox --help.")
        case _:
            raise AssertionError(arguments)


def _run(arguments: list[str]) -> int:
    """The command's own exit code; 128 and the signal's number where a signal ended it."""
    from claw_kernel._core import Core, RuleError
    from claw_kernel.settings import load_settings

    at = arguments.index("--") if "--" in arguments else len(arguments)
    parser = Parser(
        "sandbox run",
        "Run a command as a model's commands run: it writes only in the workspace and in a /tmp of its own, reads no\n"
        "secrets, and talks to no host that is not named. It keeps this terminal and gives its own exit code.",
    )
    parser.usage = "claw sandbox run [options] -- COMMAND …"
    parser.add_argument("--workspace", metavar="DIR", default=".", help="what it may write (default: this folder)")
    parser.add_argument("--home", metavar="DIR", help="whose secrets are hidden (default: yours)")
    parser.add_argument("--net", metavar="HOST", action="append", default=[], help="a host it may talk to; repeatable")
    parser.add_argument("--writable", metavar="DIR", action="append", default=[], help="also writable; repeatable")
    parser.add_argument("--hide", metavar="PATH", action="append", default=[], help="also hidden; repeatable")
    options = parser.read(arguments[:at])
    command = arguments[at + 1 :]
    if not command:
        raise UsageError("nothing to run; write the command behind --, as in: claw sandbox run -- make test")
    settings = load_settings(options.workspace)
    given = settings.sandbox_options()
    # A person who asks for the sandbox gets as much of it as there is; check says how much.
    given["mode"] = "weaker-ok" if given.get("mode") == "weaker-ok" else "on"
    given["writable"] = [*given.get("writable", ()), *_absolute(options.writable)]
    given["hidden"] = [*given.get("hidden", ()), *_absolute(options.hide)]
    if options.home:
        given["home"] = str(Path(options.home).resolve())
    try:
        core = Core(
            settings.cwd,
            state_dir=settings.state_dir,
            session_id="command-line",
            programs=str(Path(sys.executable).parent) if sys.executable else "",
            sandbox=json.dumps(given),
        )
        for host in options.net:
            core.add_rule("allow", f"Network(domain:{host})", "--net")
    except RuleError as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise UsageError(f"the sandbox cannot be set up: {error}.") from None
    missing = json.loads(core.sandbox_report())["missing"]
    if missing and given["mode"] != "weaker-ok":
        print("claw: this machine cannot give the whole sandbox:", *missing, file=sys.stderr)
        print("claw: nothing was run; the setting sandbox.mode weaker-ok accepts that.", file=sys.stderr)
        return FAILED

    def end(_signal: int, _frame: FrameType | None) -> NoReturn:
        # The command's line of life is a socket of this process: it ends with it.
        os._exit(TERMINATED)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal tells the command; how it ends is what counts
    here = Path.cwd()
    inside = str(here) if here.is_relative_to(settings.cwd) else settings.cwd
    try:
        code = core.run_confined(command, inside)
    except FileNotFoundError as error:
        print(f"claw: {error}", file=sys.stderr)
        return NOT_FOUND
    except OSError as error:
        print(f"claw: {error}", file=sys.stderr)
        return FAILED
    finally:
        core.close()
    return code if code >= 0 else 128 - code


def _absolute(paths: list[str]) -> list[str]:
    return [str(Path(path).expanduser().absolute()) for path in paths]


def _check() -> int:
    from claw_kernel.cli.surroundings import sandbox

    findings = list(sandbox())
    for finding in findings:
        print(finding.message)
        if finding.remedy:
            print(f"→ {finding.remedy}")
    return DONE if all(finding.state == "ok" for finding in findings) else FAILED
