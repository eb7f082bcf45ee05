"""``claw trust``: let a folder's own settings take effect, or no longer."""

from __future__ import annotations

from pathlib import Path

from claw_kernel.cli import DONE, FAILED, UsageError
from claw_kernel.cli.arguments import Parser

_EPILOG = """\
Until you trust a folder, its .claw/settings.json can only tighten what the agent may do. Trust one whose files you have
read: its rules may then allow commands without asking. The list is kept in your own state directory; a folder that is
moved or replaced is not trusted."""


def run(arguments: list[str]) -> int:
    """Raises UsageError and SettingsError."""
    parser = Parser("trust", "Let the settings that a folder brings take effect, its allow rules included.", _EPILOG)
    parser.add_argument("folder", metavar="DIRECTORY", nargs="?", help="default: the current directory")
    parser.add_argument("--revoke", action="store_true", help="take the folder off the list")
    parser.add_argument("--list", action="store_true", help="show the folders on the list")
    options = parser.read(arguments)
    from claw_kernel.settings import load_settings
    from claw_kernel.trust import is_trusted, revoke, trust, trusted_folders

    folder = options.folder or str(Path.cwd())
    state_dir = load_settings(str(Path.home())).state_dir
    if options.list:
        if options.folder or options.revoke:
            raise UsageError("--list takes nothing else.")
        for known in trusted_folders(state_dir):
            gone = "" if is_trusted(state_dir, known.path) else "  (moved or replaced: not trusted)"
            print(f"{known.path}{gone}")
        return DONE
    if options.revoke:
        was_trusted = revoke(state_dir, folder)
        print(f"{folder} is {'no longer' if was_trusted else 'not'} trusted.")
        return DONE if was_trusted else FAILED
    path = trust(state_dir, folder).path
    settings = load_settings(path)
    rules = [rule for rule in settings.rules if rule.source.startswith(f"{path}/.claw/")]
    print(f"{path} is trusted.")
    for rule in rules:
        print(f"  {rule.behavior}: {rule.rule} ({rule.source})")
    for notice in settings.notices:
        print(f"  {notice}")
    return DONE
