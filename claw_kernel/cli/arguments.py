"""Command-line arguments: argparse, with errors that name the nearest option."""

from __future__ import annotations

import argparse
import os
from typing import NoReturn

from claw_kernel.cli import UsageError, nearest


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Made for every option that is declared, only to check it: importing ``shutil`` for the width takes 2 ms of a start."""

    def __init__(self, prog: str) -> None:
        try:
            columns = os.get_terminal_size().columns
        except (OSError, ValueError):  # no terminal, or stdout is closed
            columns = 0
        super().__init__(prog, width=(columns or 80) - 2)


class Parser(argparse.ArgumentParser):
    """Raises UsageError instead of leaving the process; options cannot be abbreviated."""

    def __init__(self, command: str, description: str, epilog: str = "") -> None:
        super().__init__(
            prog=f"claw {command}",
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=_HelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}. See {self.prog} --help.")

    def read(self, arguments: list[str]) -> argparse.Namespace:
        """Raises UsageError."""
        options, rest = self.parse_known_args(arguments)
        if rest:
            name = rest[0].split("=")[0]
            if name.startswith("-"):
                hint = nearest(name, list(self._option_string_actions))
                raise UsageError(f"unknown option {name!r}{hint} See {self.prog} --help.")
            raise UsageError(f"unexpected argument {rest[0]!r}. See {self.prog} --help.")
        return options
