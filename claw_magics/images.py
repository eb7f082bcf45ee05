"""Figures and pictures of the namespace as images for the model; exact classes of matplotlib and PIL only."""

from __future__ import annotations

import base64
import io
import sys
from typing import Any

from claw_kernel.messages import ImageBlock

MAX_SIDE = 1568
"""Pixels of the longer side: providers scale larger images down, and charge for them first."""


def draw_image(value: Any) -> ImageBlock | None:
    """``value`` as PNG, or None where it is no figure or picture. Raises what drawing raises."""
    from claw_magics.classes import library_name

    name = library_name(type(value))
    if name == "matplotlib.figure.Figure":
        return _draw_figure(value)
    if name.startswith("PIL.") and isinstance(value, vars(sys.modules["PIL.Image"])["Image"]):
        return _draw_picture(value)
    return None


def _draw_figure(figure: Any) -> ImageBlock:
    longest = max(float(side) for side in figure.get_size_inches())
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=min(float(figure.dpi), MAX_SIDE / max(longest, 0.1)))
    return _to_block(file)


def _draw_picture(picture: Any) -> ImageBlock:
    copy = picture.copy() if picture.mode in ("RGB", "RGBA", "L") else picture.convert("RGBA")
    copy.thumbnail((MAX_SIDE, MAX_SIDE))
    file = io.BytesIO()
    copy.save(file, format="PNG")
    return _to_block(file)


def _to_block(file: io.BytesIO) -> ImageBlock:
    return ImageBlock("image/png", base64.b64encode(file.getvalue()).decode("ascii"))
