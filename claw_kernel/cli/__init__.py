"""``claw`` on the command line: ``claw COMMAND …``. Each command is one module here, imported when it is run."""

from __future__ import annotations

import sys

COMMANDS = {
    "prompt": "run one prompt without a notebook and print the answer",
    "doctor": "check the installation and say how to mend it",
    "run": "run a notebook, code and requests in order, without anybody in front of it",
    "replay": "run a notebook on its recorded answers and compare what the tools give",
    "login": "store the key of a model provider",
    "logout": "remove it",
    "lab": "open JupyterLab (arguments are passed on)",
    "demo": "run the quickstart notebook headless on a scripted model",
    "permissions": "say what the policy would do with a call (explain, check)",
    "trust": "let a folder's own settings take effect, or no longer",
    "sandbox": "run a command in the sandbox, or say what of it this machine gives (run, check)",
    "blame": "say who wrote each cell of a notebook: the agent, a person, or both",
    "export": "write a session as a plain notebook that is proven to run, or as a transcript",
    "session": "check, sign and clean the session in a notebook (check, sign, scrub, verify)",
    "undo": "put back what the last turns changed",
    "rewind": "put files back as they were before a turn or a call",
    "checkpoints": "list what the calls of a session changed, or the sessions of this workspace",
    "tools": "list the tools, or run calls from a program",
    "version": "print the version",
    "help": "show this page, or that of a command",
}
"""Name and purpose of each command, in the order of the help page."""

IN_NOTEBOOKS = (
    "status",
    "model",
    "config",
    "plan",
    "clear",
    "sessions",
    "history",
    "fork",
    "todos",
    "memory",
    "cost",
    "budget",
    "context",
    "compact",
    "resume",
)
"""Commands of ``%claw`` alone, which somebody may look for here."""

DONE, FAILED, USAGE, LIMITED, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 130, 143
"""Exit codes: done · provider or turn failed · usage, or a settings or notebook file that cannot be read · a limit was reached · SIGINT · SIGTERM."""
DENIED, DRIFTED, NOTEBOOK_FAILED = 4, 5, 6
"""Of ``run`` and ``replay``: the policy did not allow a call · a result is not the recorded one · a cell failed."""


class UsageError(Exception):
    """A mistake on the command line; the text is one sentence for the person."""


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit code. A person's mistake is one line on stderr, never a traceback."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        return _run(arguments)
    except UsageError as error:
        _say(str(error))
        return USAGE
    except KeyboardInterrupt:
        _say("interrupted.")
        return INTERRUPTED
    except BrokenPipeError:
        _drop_stdout()
        return FAILED
    except ImportError as error:
        if error.name != "claw_kernel._core":
            raise
        _say("the native core claw_kernel._core is missing; install claw-jupyter again (in a clone: make setup).")
        return FAILED
    except Exception as error:
        from claw_kernel.errors import ClawError, SessionError, SettingsError

        if not isinstance(error, ClawError):
            raise
        _say(str(error))
        return USAGE if isinstance(error, SettingsError | SessionError) else FAILED


def _run(arguments: list[str]) -> int:
    match arguments:
        case [] | ["help" | "-h" | "--help"] | ["help", "help" | "-h" | "--help"]:
            print(help_page())
            return DONE
        case ["help", name, *_]:
            return _run([_known(name), "--help"])
        case ["version" | "--version" | "-V"]:
            from claw_kernel import __version__

            print(f"claw {__version__}")
            return DONE
        case ["version", "-h" | "--help"]:
            print("usage: claw version\n\nPrint the version.")
            return DONE
        case ["version", extra, *_]:
            raise UsageError(f"claw version takes no arguments, but was given {extra!r}.")
        case [name, *rest]:
            return _command(_known(name), rest)
        case _:
            raise AssertionError(arguments)


def _command(name: str, rest: list[str]) -> int:
    match name:
        case "prompt":
            from claw_kernel.cli import prompt

            return prompt.run(rest)
        case "doctor":
            from claw_kernel.cli import doctor

            return doctor.run(rest)
        case "run" | "replay":
            from claw_kernel.cli import replay, run

            return run.run(rest) if name == "run" else replay.run(rest)
        case "login" | "logout":
            from claw_kernel.cli import login

            return login.login(rest) if name == "login" else login.logout(rest)
        case "lab":
            from claw_kernel.cli import lab

            return lab.run(rest)
        case "demo":
            from claw_kernel.cli import demo

            return demo.run(rest)
        case "permissions":
            from claw_kernel.cli import permissions

            return permissions.run(rest)
        case "trust":
            from claw_kernel.cli import trust

            return trust.run(rest)
        case "sandbox":
            from claw_kernel.cli import sandbox

            return sandbox.run(rest)
        case "blame":
            from claw_kernel.cli import blame

            return blame.run(rest)
        case "export":
            from claw_kernel.cli import export

            return export.run(rest)
        case "session":
            from claw_kernel.cli import session

            return session.run(rest)
        case "undo" | "rewind" | "checkpoints":
            from claw_kernel.cli import undo

            return undo.run(name, rest)
        case "tools":
            from claw_kernel.cli import tools

            return tools.run(rest)
        case _:
            raise AssertionError(name)


def _known(name: str) -> str:
    """``name`` where it is a command. Raises UsageError with the nearest name."""
    if name in COMMANDS:
        return name
    if name in IN_NOTEBOOKS:
        raise UsageError(f"{name} is a command of notebooks: write %claw {name} in a cell. See claw --help.")
    kind = "option" if name.startswith("-") else "command"
    if " " in name.strip():
        raise UsageError(f"unknown command {name!r}; to send it to a model write: claw prompt {name!r}")
    near = nearest(name, [*COMMANDS, *IN_NOTEBOOKS, "--help", "--version"])
    raise UsageError(f"unknown {kind} {name!r}{near} See claw --help.")


def nearest(name: str, known: list[str]) -> str:
    """``; did you mean '…'?``, or a full stop where nothing is near."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, 1)
    return f"; did you mean {near[0]!r}?" if near else "."


def help_page() -> str:
    """What ``claw --help`` prints."""
    rows = "\n".join(f"  {name:<12} {purpose}" for name, purpose in COMMANDS.items())
    return (
        "usage: claw COMMAND …\n\n"
        "Claw for Jupyter: a coding agent in the notebook, and here on the command line.\n\n"
        f"{rows}\n\n"
        'In a notebook: %load_ext claw_magics, then a cell that starts with %%claw. "claw help COMMAND" says more.'
    )


def _say(text: str) -> None:
    print(f"claw: {text}", file=sys.stderr)


def _drop_stdout() -> None:
    """Whoever read stdout is gone: the interpreter must not fail again when it flushes at exit."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
