"""Every case of every attack class, through the front door."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from claw_kernel._core import Core, RuleError, ToolInputError
from claw_kernel.cli.permissions import prepare
from claw_kernel.settings import Settings, load_settings
from tests.attacks.tables import DOCUMENT, ROOT, AttackClass, Case, document, read_classes

CLASSES = read_classes()
STOPPED = ("ask", "deny", "invalid")
"""Invalid: no tool takes such a call."""


def cases(*kinds: str) -> list[Any]:
    return [
        pytest.param(known, case, id=f"{case.id}-{number}")
        for known in CLASSES
        for number, case in enumerate(known.cases)
        if case.kind in kinds
    ]


@dataclass
class Place:
    """A workspace with links, repositories and secrets around it."""

    folder: Path
    core: Core
    settings: Settings

    @property
    def workspace(self) -> Path:
        return self.folder / "work"

    def set_policy(self, known: AttackClass, case: Case | None = None, mode: str = "default") -> None:
        options = case.options if case else {}
        rules = [rule for behavior in ("allow", "ask", "deny") for rule in case_rules(known, behavior, options)]
        self.core.set_policy(json.dumps({"mode": options.get("mode", mode), "rules": rules}))

    def decide(self, tool: str, arguments: dict[str, Any]) -> str:
        """Asked of the gate as ``claw permissions check`` asks it."""
        filled = {key: self.fill(value) if isinstance(value, str) else value for key, value in arguments.items()}
        try:
            return prepare(self.core, tool, filled, self.settings).decision
        except ToolInputError:
            return "invalid"

    def fill(self, text: str) -> str:
        return fill(text, {"workspace": self.workspace})


def fill(text: str, known: Mapping[str, object]) -> str:
    """``{name}`` replaced where it is known; the shell's own braces stay."""
    return re.sub(r"\{(\w+)\}", lambda match: str(known.get(match[1], match[0])), text)


def case_rules(known: AttackClass, behavior: str, options: Mapping[str, Any] | None = None) -> list[dict[str, str]]:
    rules = [*known.rules[behavior], *(options or {}).get(behavior, ())]
    return [{"behavior": behavior, "rule": rule} for rule in rules]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("attacked")
    build(folder)
    core = Core(str(folder / "work"), state_dir=str(folder / "state"), session_id="attacks")
    yield Place(folder, core, load_settings(str(folder / "work"), {"CLAW_HOME": str(folder / "home")}))
    core.close()


def build(folder: Path) -> None:
    files = {
        "work/a.txt": "a", "work/src/a.py": "a", "work/sub/b.txt": "b", "work/secret/key": "key", "work/.git/config": "[core]\n\thooksPath = tools/checks # ours\n[include]\n\tpath = ../more.ini\n\tpath = ../absent.ini\n",
        "work/more.ini": "[core]\nhookspath = late\n",
        "work/tools/checks/pre-push": "", "work/.git/hooks/sample": "",
        "outside/secret": "outside", "outside/passwd": "x", "home/.bashrc": "", "home/.ssh/id_ed25519": "private",
        "home/.local/share/jupyter/runtime/kernel-1.json": "{}", "home/.ipython/profile_default/history.sqlite": "x",
    }  # fmt: skip
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    beside = folder / "work/beside/.git/config"
    beside.parent.mkdir(parents=True)
    hooks = folder / "work" / "kept"
    beside.write_text(f"[core]\n\thooksPath = {hooks}\n")
    links = {
        "away": "../outside",
        "leak": "../outside/secret",
        "inside": "src",
        "alias": "secret/key",
        "linked.gz": "../outside/secret",
        "linked.zip": "../outside/secret",
    }
    for name, target in links.items():
        (folder / "work" / name).symlink_to(target)


@pytest.mark.parametrize(("known", "case"), cases("lines", "repeats"))
def test_command_lines(place: Place, known: AttackClass, case: Case) -> None:
    place.set_policy(known)
    piece = case.options.get("piece")
    attack, twin = (piece * case.attack, piece * case.twin) if piece else (case.attack, case.twin)
    assert place.decide("Bash", {"command": attack}) in STOPPED
    assert place.decide("Bash", {"command": twin}) == "allow"


@pytest.mark.parametrize("mode", ["default", "acceptEdits", "plan"])
@pytest.mark.parametrize(("known", "case"), cases("reads"))
def test_lines_that_only_read(place: Place, known: AttackClass, case: Case, mode: str) -> None:
    if json.loads(place.core.sandbox_report())["missing"]:
        pytest.skip("this machine cannot give the whole sandbox, without which such lines are asked")
    place.core.set_policy(json.dumps({"mode": mode, "rules": case_rules(known, "deny")}))
    assert place.decide("Bash", {"command": place.fill(case.attack)}) in STOPPED
    assert place.decide("Bash", {"command": place.fill(case.twin)}) == "allow"


@pytest.mark.parametrize(("known", "case"), cases("lines"))
def test_what_is_suggested_for_an_attack_never_allows_more_than_it(
    place: Place, known: AttackClass, case: Case
) -> None:
    """Rules offered for a line allow that line, and none of them is offered for what no rule can be sure of."""
    place.set_policy(known)
    command = place.fill(case.attack)
    try:
        prepared = place.core.prepare("Bash", json.dumps({"command": command}))
    except ToolInputError:
        return
    for rule in prepared.suggested_rules:
        place.core.add_rule("allow", rule, "")
    if prepared.suggested_rules:
        assert place.core.prepare("Bash", json.dumps({"command": command})).decision == "allow"


@pytest.mark.parametrize("mode", ["default", "acceptEdits", "bypassPermissions"])
@pytest.mark.parametrize(("known", "line"), [(known, line) for known in CLASSES for line in known.firm])
def test_what_is_always_asked(place: Place, known: AttackClass, line: str, mode: str) -> None:
    place.set_policy(known, mode=mode)
    place.core.add_rule("allow", "Bash", "")
    assert place.decide("Bash", {"command": line}) == "ask"


@pytest.mark.parametrize(("known", "case"), cases("calls"))
def test_calls(place: Place, known: AttackClass, case: Case) -> None:
    place.set_policy(known, case)
    tool = case.options["tool"]
    assert place.decide(tool, case.attack) in STOPPED
    twin_tool = case.options.get("twin_tool", tool)
    if twin_tool == "Inspect":  # a tool of the notebook, which declares that it only looks
        assert place.core.prepare("Inspect", "{}", '[{"effect": "inspect"}]').decision == "allow"
    else:
        assert place.decide(twin_tool, case.twin) == "allow"


@pytest.mark.parametrize(("known", "case"), cases("hosts"))
def test_hosts(place: Place, known: AttackClass, case: Case) -> None:
    rules = [{"behavior": "allow", "rule": f"Network(domain:{host})"} for host in case.options["granted"]]
    place.core.set_policy(json.dumps({"rules": rules}))
    assert is_refused(place.core, case.attack)
    assert case.twin is None or not is_refused(place.core, case.twin)


def is_refused(core: Core, host: str) -> bool:
    try:
        return core.network_objection(host) is not None
    except RuleError:  # it is none
        return True


@pytest.mark.parametrize(("known", "case"), cases("refused_rules"))
def test_rules_that_cannot_be_written(place: Place, known: AttackClass, case: Case) -> None:
    place.set_policy(known)
    with pytest.raises(RuleError):
        place.core.add_rule(case.options["behavior"], case.attack, "")
    place.core.add_rule(case.options["behavior"], case.twin, "")


# --- in the sandbox ---


def sandbox(folder: Path, script: str, *options: str) -> subprocess.CompletedProcess[str]:
    """``claw sandbox run``."""
    command = ["sandbox", "run", "--workspace", str(folder / "work"), "--home", str(folder / "home"), *options]
    return subprocess.run(
        [sys.executable, "-m", "claw_kernel.cli", *command, "--", "bash", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder / "work",
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def _confines(tmp_path_factory: pytest.TempPathFactory) -> None:
    from claw_kernel.cli import COMMANDS

    if "sandbox" not in COMMANDS:
        pytest.skip("claw sandbox is not part of this build")
    folder = tmp_path_factory.mktemp("probe")
    build(folder)
    done = sandbox(folder, "echo FINE")
    if done.returncode:
        pytest.skip(f"this machine cannot confine processes: {done.stderr.strip()}")


@pytest.fixture(scope="module")
def canary() -> Iterator[int]:
    """A server on this machine that no sandboxed command may reach."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, args=(server,), daemon=True).start()
        yield server.getsockname()[1]


def accept(server: socket.socket) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        with client:
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")


@pytest.mark.usefixtures("_confines")
@pytest.mark.parametrize(("known", "case"), cases("runs"))
def test_what_runs_is_contained(tmp_path: Path, canary: int, known: AttackClass, case: Case) -> None:
    build(tmp_path)
    more: dict[str, object] = {
        "workspace": tmp_path / "work",
        "home": tmp_path / "home",
        "secret": tmp_path / "outside" / "secret",
    }
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        more |= {"port": canary, "socket": tmp_path / "s", "pid": os.getpid()}
        # Nothing is judged here: it runs as if it had been allowed.
        attack = sandbox(tmp_path, fill(case.attack, more))
        if gone := case.options.get("gone"):
            # No system call refuses a name that is not there yet: such a place is taken back when the command has ended.
            assert not Path(fill(gone, more)).exists(), attack.stderr
            assert "taken back" in attack.stderr
        else:
            assert "ESCAPED" not in attack.stdout, attack.stderr
        twin = sandbox(tmp_path, fill(case.twin, more))
        assert "FINE" in twin.stdout, (twin.stdout, twin.stderr)


# --- the table ---


def test_every_class_has_cases_and_as_many_twins() -> None:
    assert "".join(known.letter for known in CLASSES) == "ABCDEFGHIJKLMN"
    for known in CLASSES:
        attacks = [case for case in known.cases if case.id.startswith(known.letter)]
        assert len(attacks) == len(known.cases) >= 3
        assert sum(case.twin is not None for case in attacks) >= len(attacks) - 1, known.letter


@pytest.mark.parametrize(("known", "case"), cases("tests"))
def test_tests_that_live_elsewhere_are_there(known: AttackClass, case: Case) -> None:
    for name in (case.attack, case.twin):
        where, _, test = name.rpartition("::")
        path = ROOT / where if where.endswith(".py") else ROOT / "rust_core/src" / where.replace("::", "/")
        files = [path] if path.suffix else [path.with_suffix(".rs"), path.with_name(f"{path.name}_tests.rs")]
        text = "".join(file.read_text("utf-8") for file in files if file.is_file())
        assert re.search(rf"\b(def|fn) {test}\(", text), name


def test_the_document_shows_these_classes() -> None:
    assert DOCUMENT.read_text("utf-8") == document(), "run make tables"
