"""Names that nobody else has given."""

from __future__ import annotations

import os


def new_id(prefix: str, *, characters: int = 16) -> str:
    """``prefix_`` and so many hexadecimal characters by chance. (Importing ``uuid`` takes 2 ms of a start.)"""
    return f"{prefix}_{os.urandom((characters + 1) // 2).hex()[:characters]}"
