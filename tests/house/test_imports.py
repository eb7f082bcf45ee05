"""Imports go one way, the environment is read in one place, processes are started in one place."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("claw_kernel", "claw_magics")
LATE = "claw_kernel.late_dataclass"
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Full names of what ``path`` imports of ours, inside functions too."""
    found = set()
    parts = path.relative_to(ROOT).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(parts[: len(parts) - node.level]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.split(".")[0] in PACKAGES}


def is_below(name: str, module: str) -> bool:
    return name == module or name.startswith(module + ".")


@pytest.mark.parametrize(
    ("importer", "forbidden"),
    [
        ("claw_kernel", "claw_magics"),
        ("claw_kernel/providers", "claw_kernel.tools"),
        ("claw_kernel/tools", "claw_kernel.providers"),
        ("claw_kernel/providers", "claw_kernel.agent"),
        ("claw_kernel/tools", "claw_kernel.agent"),
        ("claw_kernel/session", "claw_kernel.agent"),
        ("claw_kernel/agent", "claw_kernel.cli"),
        ("claw_magics", "claw_kernel.cli"),
    ],
)
def test_imports_go_one_way(importer, forbidden):
    wrong = {
        str(path.relative_to(ROOT)): sorted(name for name in imports(path) if is_below(name, forbidden))
        for path in (ROOT / importer).rglob("*.py")
    }
    assert {path: names for path, names in wrong.items() if names} == {}


@pytest.mark.parametrize(
    ("module", "allowed"), [("late_dataclass", []), ("messages", [LATE]), ("errors", ["claw_kernel.messages", LATE])]
)
def test_the_vocabulary_imports_nothing_of_ours(module, allowed):
    names = imports(ROOT / "claw_kernel" / f"{module}.py")
    assert sorted(name for name in names if not any(is_below(name, other) for other in allowed)) == []


def test_only_the_settings_and_the_command_line_read_the_environment():
    """A setting that is read elsewhere would not show in ``%claw config``."""
    is_edge = {ROOT / "claw_kernel" / "settings.py", *(ROOT / "claw_kernel" / "cli").glob("*.py")}
    readers = {"environ", "environb", "getenv", "getenvb"}
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        if path not in is_edge
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if (isinstance(node, ast.Attribute) and node.attr in readers and ast.unparse(node.value) == "os")
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and readers & {alias.name for alias in node.names})
    ]
    assert wrong == []


def test_rust_starts_processes_in_one_file():
    """What confines a process can only be put into force where all of them are started."""
    pattern = re.compile(r"\bCommand::new\b|\bposix_spawn|\bfork\(|\bexecv")
    sources = list((ROOT / "rust_core" / "src").rglob("*.rs"))
    assert sources
    # The tests of the crate, in `#[cfg(test)]` modules at the end of a file or in files named for it, may start helpers.
    found = {
        path.name
        for path in sources
        if path.name != "tests.rs" and pattern.search(path.read_text("utf-8").split("#[cfg(test)]")[0])
    }
    assert found <= {"spawn.rs"}


def test_python_starts_processes_through_the_core():
    """What a session runs goes through ``Core``; these run before or beside any session, for the person alone."""
    allowed = {
        "claw_kernel/cli/lab.py": "JupyterLab in the place of `claw lab`",
        "claw_kernel/cli/demo.py": "the quickstart notebook, run by the person",
        "claw_kernel/cli/installation.py": "doctor asks each kernel's Python what it can import",
    }
    starters = {"subprocess", "pty", "multiprocessing"}
    calls = {
        "system",
        "popen",
        "fork",
        "forkpty",
        "posix_spawn",
        "posix_spawnp",
        "execv",
        "execve",
        "execvp",
        "execvpe",
    }
    wrong = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                is_starter = any(alias.name.split(".")[0] in starters for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                is_starter = (node.module or "").split(".")[0] in starters
            else:
                is_os_call = isinstance(node, ast.Attribute) and ast.unparse(node.value) == "os" and node.attr in calls
                is_starter = is_os_call or (
                    isinstance(node, ast.Attribute) and node.attr.startswith("create_subprocess")
                )
            if is_starter:
                wrong.add(str(path.relative_to(ROOT)))
    assert wrong - set(allowed) == set()


def test_only_the_binding_knows_python():
    """In Rust the tools, the policy and the workspace can be tested without an interpreter."""
    source = ROOT / "rust_core" / "src"
    knowing = [path for path in source.rglob("*.rs") if "pyo3" in path.read_text("utf-8")]
    binding = (source / "lib.rs", source / "python")
    assert [path for path in knowing if not any(path.is_relative_to(place) for place in binding)] == []


def test_modules_are_named_for_what_they_are():
    empty_words = {"utils", "helpers", "manager", "handler", "handlers", "data", "info", "misc", "common"}
    trees = ["claw_kernel", "claw_magics", "rust_core/src", "labextension/src", "tests"]
    stems = {
        path for tree in trees for path in (ROOT / tree).rglob("*") if path.suffix in {".py", ".rs", ".ts", ".tsx"}
    }
    assert sorted(str(path.relative_to(ROOT)) for path in stems if path.stem.strip("_") in empty_words) == []
