# ruff: noqa: INP001 - a script of the build, not a module of a package
"""Print the requirements of pyproject.toml, one per line: ``requirements.py GROUP…``.

GROUP is ``runtime`` (dependencies), ``build`` (build-system.requires) or the name of an extra. So packages can be
installed in a step of their own, before and apart from the compilation of the native core.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def requirements(groups: list[str]) -> list[str]:
    """Raises KeyError for a group that pyproject.toml does not have."""
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))
    known = {
        "runtime": project["project"]["dependencies"],
        "build": project["build-system"]["requires"],
        **project["project"]["optional-dependencies"],
    }
    return sorted({line for group in groups for line in known[group]})


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1:])))
