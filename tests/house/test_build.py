"""`make` says what is missing before it builds, and continuous integration runs `make test` and nothing more."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BASE_TOOLS = (
    "sh",
    "awk",
    "sed",
    "grep",
    "cat",
    "id",
    "uname",
    "mktemp",
    "rm",
    "dirname",
    "tail",
    "env",
    "date",
    "mkdir",
)


@pytest.fixture
def bare_machine(tmp_path):
    """A PATH with the base system's tools only, as a person without root has it."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in BASE_TOOLS:
        (tools / name).symlink_to(shutil.which(name))
    # The checks must not install anything on the machine that runs this test, whoever runs it.
    (tools / "id").unlink()
    (tools / "id").write_text("#!/bin/sh\necho 1000\n")
    (tools / "id").chmod(0o755)
    return tools


def preflight(tools: Path, *things: str) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / ".ci" / "preflight"), *things]
    return subprocess.run(
        command, env={"PATH": str(tools), "HOME": "/nowhere"}, capture_output=True, text=True, timeout=60
    )


def test_everything_missing_is_listed_at_once_with_the_way_to_get_it(bare_machine):
    done = preflight(bare_machine, "python", "rust", "cc", "node", "chromium")
    assert done.returncode == 1
    assert "5 things" in done.stderr
    for name, remedy in [
        ("Rust", "rustup"),
        ("Node", "node"),
        ("Python 3.11", "python"),
        ("compiler", "install"),
        ("Chromium", "chromium"),
    ]:
        lines = done.stderr.split("\n")
        index = next(i for i, line in enumerate(lines) if line.startswith("  ") and name in line)
        assert remedy in lines[index + 1].lower()
    assert "Nothing was built" in done.stderr


@pytest.mark.parametrize(
    ("version", "is_good"),
    [
        ("v18.20.4", False),
        ("v20.18.3", False),
        ("v20.19.0", True),
        ("v21.7.3", False),
        ("v22.11.0", False),
        ("v22.12.0", True),
        ("v24.1.0", True),
    ],
)
def test_a_node_that_the_extension_builder_refuses_is_refused_before_it_starts(bare_machine, version, is_good):
    for name, line in (("node", version), ("npm", "10.9.0")):
        (bare_machine / name).write_text(f"#!/bin/sh\necho {line}\n")
        (bare_machine / name).chmod(0o755)
    done = preflight(bare_machine, "node")
    assert done.returncode == (0 if is_good else 1)
    assert version.removeprefix("v") in done.stdout + done.stderr


def test_a_rust_older_than_the_crate_wants_is_named(bare_machine):
    needed = re.search(r'^rust-version = "([\d.]+)"', (ROOT / "rust_core" / "Cargo.toml").read_text(), re.MULTILINE)
    for name in ("rustc", "cargo"):
        (bare_machine / name).write_text(f"#!/bin/sh\necho '{name} 1.63.0 (897e37553 2022-08-02)'\n")
        (bare_machine / name).chmod(0o755)
    done = preflight(bare_machine, "rust")
    assert done.returncode == 1
    assert f"Rust {needed[1]} or newer" in done.stderr
    assert "found: 1.63.0" in done.stderr


def test_a_shim_that_does_not_start_is_no_python(bare_machine):
    """pyenv leaves a ``python3.13`` in the path that only prints an error."""
    (bare_machine / "python3.13").write_text("#!/bin/sh\nexit 127\n")
    (bare_machine / "python3.13").chmod(0o755)
    assert preflight(bare_machine, "python").returncode == 1


def test_as_root_on_debian_the_archive_is_asked_once_and_used(bare_machine):
    """Node 18 of the archive will not do, so nothing is installed; Chromium alone is."""
    if "debian" not in (Path("/etc/os-release").read_text() if Path("/etc/os-release").exists() else ""):
        pytest.skip("Debian and its children only")
    log = bare_machine / "log"
    scripts = {
        "id": "echo 0",
        "apt-cache": "printf '%s:\\n  Candidate: 18.20.4+dfsg-1\\n' \"$2\"",
        "apt-get": f'echo "$*" >> {log}\n[ "$1" = update ] || printf "#!/bin/sh\\necho Chromium 140.0.1\\n" > {bare_machine}/chromium\n'
        f"[ ! -f {bare_machine}/chromium ] || chmod +x {bare_machine}/chromium",
    }
    (bare_machine / "chmod").symlink_to(shutil.which("chmod"))
    for name, body in scripts.items():
        (bare_machine / name).unlink(missing_ok=True)
        (bare_machine / name).write_text(f"#!/bin/sh\n{body}\n")
        (bare_machine / name).chmod(0o755)

    done = preflight(bare_machine, "node", "chromium")
    assert done.returncode == 1
    assert "nodejs.org" in done.stderr
    assert "apt-get install -y chromium" in done.stderr
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["update"]

    log.unlink()
    done = preflight(bare_machine, "chromium")
    assert done.returncode == 0, done.stderr
    assert "Chromium 140.0.1" in done.stdout
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["update", "install"]


def test_make_stops_before_it_builds(bare_machine, tmp_path):
    clone = tmp_path / "clone"
    for name in ("Makefile", "pyproject.toml", ".ci", "rust_core/Cargo.toml"):
        target = clone / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, target)
    for name in ("make", "find"):
        (bare_machine / name).symlink_to(shutil.which(name))
    before = sorted(clone.rglob("*"))
    environment = {"PATH": str(bare_machine), "HOME": "/nowhere"}
    done = subprocess.run(["make", "demo"], cwd=clone, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "Rust" in done.stderr
    assert "Chromium" not in done.stderr  # the demo does without
    assert sorted(clone.rglob("*")) == before


def test_a_failing_step_shows_its_log_and_keeps_its_exit_code(tmp_path):
    step = str(ROOT / ".ci" / "step")
    command = [step, "probe", "Probing", "sh", "-c", "echo what went wrong; exit 7"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.returncode == 7
    assert "Probing" in done.stdout
    assert "what went wrong" in done.stdout
    assert (tmp_path / "build" / "logs" / "probe.log").read_text() == "what went wrong\n"


def test_make_alone_lists_targets_that_exist():
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    listed = re.findall(r"^  make ([a-z]+)", done.stdout, re.MULTILINE)
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert {"demo", "test", "lab", "check", "build", "bench"} <= set(listed) <= targets


def test_continuous_integration_runs_make_test_and_nothing_more():
    lines = (ROOT / ".ci" / "run").read_text().split("\n")
    commands = [line for line in lines if line and not line.startswith("#")]
    assert commands[-1] == "exec make test"
    assert all(line.startswith("cd ") for line in commands[:-1])
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_a_clone_may_lie_in_a_folder_with_a_space(tmp_path):
    clone = tmp_path / "Zoë Ł 2"
    shutil.copytree(ROOT / ".ci", clone / ".ci")
    shutil.copy(ROOT / "Makefile", clone)
    maturin = clone / ".venv" / "bin" / "maturin"
    maturin.parent.mkdir(parents=True)
    maturin.write_text('#!/bin/sh\nprintf %s "$VIRTUAL_ENV"\n')
    maturin.chmod(0o755)
    command = ["make", "--eval=show: ; @env $(INSTALL)", "show"]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, timeout=60)
    assert done.stdout == f"{clone}/.venv", done.stderr
