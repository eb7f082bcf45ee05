"""Containment: no spelling of a path leaves the workspace, in any mode, decided and enforced."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from pathlib import Path

import pytest

from claw_kernel._core import CancelToken, Core

OUTSIDE = [
    "../outside/secret",
    "sub/../../outside/secret",
    "leaves/secret",
    "sub/leaves/secret",
    "file-link",
    "chain",
    "/etc/passwd",
    "/proc/self/root/etc/passwd",
    "/proc/self/environ",
    "/proc/self/cwd/../outside/secret",
    "~/.bashrc",
    "absolute/secret",
    "sub/missing/../../../outside/secret",
    "/dev/stdin",
    "/dev/fd/0",
]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def trap(bench):
    """A workspace full of ways out."""
    (bench.outside / "secret").write_text("outside")
    bench.write("sub/in.txt", "inside")
    work = bench.workspace
    (work / "leaves").symlink_to("../outside")
    (work / "sub/leaves").symlink_to("../../outside")
    (work / "file-link").symlink_to(bench.outside / "secret")
    (work / "chain").symlink_to("chain2")
    (work / "chain2").symlink_to("leaves/secret")
    (work / "absolute").symlink_to(bench.outside)
    (work / "loop").symlink_to("loop")
    return bench


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("mode", ["default", "bypassPermissions"])
def test_paths_that_leave_are_denied_and_not_reached(trap, path, mode):
    trap.set_policy(mode, allow=["Read", "Edit", "Write"])
    for tool, arguments in [
        ("Read", {}),
        ("Write", {"content": "x"}),
        ("Edit", {"old_string": "outside", "new_string": "x"}),
    ]:
        prepared = trap.prepare(tool, file_path=path, **arguments)
        assert prepared.decision == "deny"
        assert "outside the workspace" in prepared.reason
        output = trap.core.run(prepared, CancelToken())
        assert output.is_error
        assert "outside\\n" not in output.content
    assert (trap.outside / "secret").read_text() == "outside"


@pytest.mark.parametrize("path", ["leaves/new", "leaves/deep/new", "../outside/new", "absolute/new"])
def test_new_files_behind_links_are_not_created(trap, path):
    assert trap.call("Write", file_path=path, content="x").status == "error"
    assert names(trap.outside) == ["secret"]


@pytest.mark.parametrize("tool", ["Glob", "Grep"])
def test_searches_do_not_leave(trap, tool):
    assert trap.prepare(tool, pattern="*", path="leaves").decision == "deny"
    assert "secret" not in trap.call(tool, pattern="outside" if tool == "Grep" else "*").text


def test_a_link_that_stays_inside_is_fine(trap):
    (trap.workspace / "good").symlink_to(trap.workspace / "sub")
    assert trap.call("Read", file_path="good/in.txt").text == "1\tinside\n"
    assert trap.call("Write", file_path="good/new", content="x").status == "ok"
    assert (trap.workspace / "sub/new").read_text() == "x"


def test_a_loop_of_links_is_an_error(trap):
    assert trap.call("Read", file_path="loop").status == "error"


def test_a_link_swapped_in_between_decision_and_run_is_refused(trap):
    prepared = trap.prepare("Write", file_path="sub/secret", content="taken over")
    assert prepared.decision == "allow"
    (trap.workspace / "sub").rename(trap.workspace / "old")
    (trap.workspace / "sub").symlink_to(trap.outside)
    assert trap.core.run(prepared, CancelToken()).is_error
    assert (trap.outside / "secret").read_text() == "outside"


def test_a_race_of_links_never_writes_outside(trap):
    """Another process swaps a folder for a link all the time; whatever happens, it happens inside."""
    folder, spare, stop = trap.workspace / "race", trap.workspace / "spare", threading.Event()
    folder.mkdir()

    def swap() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):  # a write may make the missing folder anew at any moment
                shutil.rmtree(spare, ignore_errors=True)
                folder.rename(spare)
                folder.symlink_to(trap.outside)
                time.sleep(0)
                folder.unlink()
                spare.rename(folder)
            if folder.is_symlink():
                folder.unlink()
            folder.mkdir(exist_ok=True)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for n in range(300):
            trap.call("Write", file_path=f"race/file{n}", content="x")
    finally:
        stop.set()
        thread.join()
    assert names(trap.outside) == ["secret"]


@pytest.mark.parametrize(
    "path",
    [
        ".git/hooks/post-commit",
        ".git/config",
        ".claw/settings.json",
        ".vscode/tasks.json",
        ".jupyter/jupyter_lab_config.py",
        ".ipython/profile_default/startup/x.py",
        "venv/lib/x.pth",
        "sitecustomize.py",
        ".bashrc",
        ".mcp.json",
        ".envrc",
        "disguise/config",
        "sub/../.git/config",
    ],
)
def test_protected_places_are_asked_in_every_mode(bench, path):
    (bench.workspace / ".git").mkdir()
    (bench.workspace / "sub").mkdir()
    (bench.workspace / "disguise").symlink_to(".git")
    for mode in ("default", "acceptEdits", "bypassPermissions"):
        bench.set_policy(mode, allow=["Edit", "Write"])
        prepared = bench.prepare("Write", file_path=path, content="x")
        assert prepared.decision == "ask", mode
        assert prepared.suggested_rules == []
        if "/hooks" not in path:
            assert bench.prepare("Bash", command=f"echo x > {path}").decision == "ask", mode
    bench.set_policy("dontAsk")
    assert bench.prepare("Write", file_path=path, content="x").decision == "deny"


def test_more_roots_can_be_given(bench, tmp_path):
    core = Core(str(bench.workspace), extra_roots=[str(bench.outside)], state_dir=str(tmp_path / "s2"))
    (bench.outside / "a").write_text("x")
    prepared = core.prepare("Read", f'{{"file_path": "{bench.outside}/a"}}')
    assert prepared.decision == "allow"
    assert "1\\tx" in core.run(prepared, CancelToken()).content


def test_a_root_that_is_no_folder_is_an_error(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        Core(str(tmp_path / "nowhere"), state_dir=str(tmp_path / "state"))
