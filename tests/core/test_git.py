"""The Git tool: what it says of honest repositories, and that nothing a dishonest one holds is ever run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from claw_kernel._core import ToolInputError

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

ENVIRONMENT = {
    **os.environ,
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_AUTHOR_DATE": "2026-01-02T03:04:05Z",
    "GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z",
    "TZ": "UTC",
}


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "protocol.file.allow=always", *arguments]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def repository(bench):
    """Two commits, then changes of every kind."""
    git(bench.workspace, "init", "-q", "-b", "main")
    bench.write("a.txt", "one\ntwo\nthree\n")
    bench.write("dir/b.txt", "b\n")
    bench.write("old name.txt", "a text long enough to be found again\n" * 5)
    git(bench.workspace, "add", ".")
    git(bench.workspace, "commit", "-qm", "First")
    bench.write("a.txt", "one\nTWO\nthree\n")
    git(bench.workspace, "commit", "-qam", "Second: change")
    git(bench.workspace, "mv", "old name.txt", "new näme.txt")
    bench.write("dir/b.txt", "b\nmore\n")
    bench.write("fresh.txt", "x\n")
    bench.set_policy("default")
    return bench


def state(bench) -> dict[str, tuple[int, int, bytes]]:
    """Every file below .git with its time, size and content."""
    files = [path for path in (bench.workspace / ".git").rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size, path.read_bytes()) for path in files}


def test_status(repository):
    assert repository.prepare("Git", action="status").decision == "allow"
    assert repository.prepare("Git", action="status").is_read_only
    before = state(repository)
    assert repository.call("Git", action="status").text == (
        "On main\nStaged:\n  R old name.txt -> new näme.txt\nNot staged:\n  M dir/b.txt\nUntracked:\n  fresh.txt"
    )
    assert repository.call("Git", action="status", path="dir").text == "On main\nNot staged:\n  M dir/b.txt"
    assert state(repository) == before


def test_status_tells_what_a_branch_follows(repository):
    git(repository.workspace, "clone", "-q", "--bare", ".", "../outside/remote.git")
    git(repository.workspace, "remote", "add", "origin", "../outside/remote.git")
    git(repository.workspace, "fetch", "-q", "origin")
    git(repository.workspace, "branch", "-q", "--set-upstream-to=origin/main")
    git(repository.workspace, "commit", "-qam", "Third")
    first = repository.call("Git", action="status").text.splitlines()[0]
    assert first == "On main, 1 ahead of and 0 behind origin/main"
    assert repository.call("Git", action="log", rev="@{upstream}..").text.endswith("Third\n")


def test_diff(repository):
    def call(**arguments):
        return repository.call("Git", action="diff", **arguments).text

    assert "+more" in call()
    assert "TWO" not in call()
    assert "rename from old name.txt\nrename to new näme.txt" in call(staged=True)
    assert "+TWO" in call(rev="HEAD~1")
    assert "-two\n+TWO" in call(rev="HEAD~1..HEAD", path="a.txt")
    assert call(rev="HEAD~1...main", path="a.txt", context=0).count("\n one") == 0
    assert call(rev="HEAD..HEAD") == "No changes."
    assert call(path="a.txt") == "No changes."
    # The same as git itself.
    assert call(rev="HEAD~1..HEAD").strip() == git(repository.workspace, "diff", "HEAD~1..HEAD")


def test_log(repository):
    def call(**arguments):
        return repository.call("Git", action="log", **arguments).text.splitlines()

    assert [line.split(" ", 1)[1] for line in call()] == [
        "2026-01-02 Ada: (HEAD -> main) Second: change",
        "2026-01-02 Ada: First",
    ]
    assert len(call(limit=1)) == 1
    assert len(call(path="dir")) == 1
    assert call(author="Nobody") == ["No commits match."]
    assert call(since="2027-01-01") == ["No commits match."]
    assert len(call(rev="HEAD~1..")) == 1


def test_show(repository):
    text = repository.call("Git", action="show").text
    assert text.startswith("commit ")
    assert "Author: Ada <ada@example.org>" in text
    assert "    Second: change" in text
    assert "-two\n+TWO" in text
    assert repository.call("Git", action="show", rev="HEAD~1", path="a.txt").text == "one\ntwo\nthree\n"
    assert "no file none.txt" in repository.call("Git", action="show", path="none.txt").text
    repository.write("bin", b"\0\1")
    git(repository.workspace, "add", "bin")
    git(repository.workspace, "commit", "-qm", "binary")
    assert repository.call("Git", action="show", path="bin").text == "bin is a binary file of 2 bytes."


def test_blame(repository):
    lines = repository.call("Git", action="blame", path="a.txt", lines="2,3").text.splitlines()
    assert len(lines) == 2
    assert "Ada 2026-01-02 2) TWO" in lines[0]
    assert "two" in repository.call("Git", action="blame", path="a.txt", rev="HEAD~1").text
    assert repository.call("Git", action="blame", path="a.txt", lines="8,9").status == "error"


def test_a_linked_working_tree_inside_the_workspace(repository):
    git(repository.workspace, "worktree", "add", "-q", "-b", "side", "trees/side")
    repository.write("trees/side/a.txt", "changed\n")
    assert repository.call("Git", action="status", path="trees/side").text == "On side\nNot staged:\n  M a.txt"
    assert "+changed" in repository.call("Git", action="diff", path="trees/side/a.txt").text


def test_what_is_not_there_is_explained(bench):
    assert "No git repository" in bench.call("Git", action="status").text
    git(bench.workspace, "init", "-q", "-b", "main")
    assert bench.call("Git", action="status").text == "On main, no commits yet\nNothing has changed."
    assert bench.call("Git", action="log").text == "There are no commits yet."
    bench.write("a", "x")
    git(bench.workspace, "add", "a")
    git(bench.workspace, "commit", "-qm", "x")
    assert bench.call("Git", action="show", rev="nope").text == 'There is no commit "nope" here.'
    assert bench.call("Git", action="status", path="../outside").status == "error"


def test_long_output_is_capped_and_kept(repository):
    repository.write("a.txt", "".join(f"line {n}\n" for n in range(30_000)))
    result = repository.call("Git", action="diff")
    assert len(result.text) < 33_000
    assert "+line 29999" in Path(result.details["spill_path"]).read_text()


def test_nothing_is_left_behind(repository):
    for action in ("status", "diff", "log", "show"):
        repository.call("Git", action=action)
    repository.call("Git", action="show", rev="nope")
    assert list((repository.state / "outputs").iterdir()) == []


def test_files_that_must_not_be_read_are_left_out(repository):
    repository.write(".env", "PASSWORD=1\n")
    git(repository.workspace, "add", ".env")
    git(repository.workspace, "commit", "-qm", "Third")
    repository.write(".env", "PASSWORD=2\n")
    repository.set_policy("default", deny=["Read(.env)"])
    for arguments in ({"action": "diff"}, {"action": "show"}, {"action": "diff", "rev": "HEAD~1"}):
        text = repository.call("Git", **arguments).text
        assert "PASSWORD" not in text
        assert "[left out, because a rule denies reading: .env]" in text
    for action in ("show", "blame", "diff"):
        assert repository.prepare("Git", action=action, path=".env").decision == "deny"
    repository.set_policy("default", deny=["Git"])
    assert repository.prepare("Git", action="status").decision == "deny"


@pytest.mark.parametrize(
    "rev", ["--output=made", "-p", "--ext-diff", "^HEAD", "HEAD:a.txt", "a..--output=made", ":/First"]
)
def test_options_and_contents_are_no_revisions(repository, rev):
    for action in ("diff", "log", "show"):
        with pytest.raises(ToolInputError):
            repository.prepare("Git", action=action, rev=rev)
    assert not (repository.workspace / "made").exists()


def test_arguments_are_never_options(repository):
    repository.call("Git", action="log", author="x --output=made", since="--output=made")
    repository.call("Git", action="diff", path="--output=made")
    repository.call("Git", action="blame", path="--contents=/etc/passwd")
    repository.call("Git", action="diff", path=":(top)a.txt")
    assert not (repository.workspace / "made").exists()


# --- repositories that want a program run -----------------------------------------------------------------------------

ACTIONS = [
    {"action": "status"},
    {"action": "diff"},
    {"action": "diff", "staged": True},
    {"action": "diff", "rev": "HEAD~1"},
    {"action": "diff", "rev": "HEAD~1..HEAD"},
    {"action": "log"},
    {"action": "log", "path": "a.txt"},
    {"action": "show"},
    {"action": "show", "path": "a.txt"},
    {"action": "blame", "path": "a.txt"},
    {"action": "log", "rev": "@{upstream}.."},
]


def trap(bench) -> str:
    """A program that leaves a trace when it is run."""
    path = bench.outside / "trap"
    path.write_text(f"#!/bin/sh\ntouch {bench.outside}/sprung\ncat 2>/dev/null\n")
    path.chmod(0o755)
    return str(path)


def run_all(bench):
    for arguments in ACTIONS:
        bench.call("Git", **arguments)
        assert not (bench.outside / "sprung").exists(), arguments


CONFIGURATIONS = [
    [("core.fsmonitor", "{trap}")],
    [("core.fsmonitor", "{trap}"), ("core.fsmonitorHookVersion", "2"), ("core.untrackedCache", "true")],
    [("core.hooksPath", "{hooks}")],
    [("core.pager", "{trap}"), ("pager.log", "{trap}"), ("pager.diff", "{trap}"), ("pager.show", "{trap}")],
    [("diff.external", "{trap}")],
    [("diff.x.command", "{trap}"), ("diff.x.textconv", "{trap}"), ("diff.x.cachetextconv", "true")],
    [("filter.x.clean", "{trap}"), ("filter.x.smudge", "{trap}"), ("filter.x.required", "true")],
    [("filter.x.process", "{trap}"), ("filter.x.required", "true")],
    [("alias.status", "!{trap}"), ("alias.diff", "!{trap}"), ("alias.log", "!{trap}"), ("alias.config", "!{trap}")],
    [("gpg.program", "{trap}"), ("log.showSignature", "true")],
    [("core.sshCommand", "{trap}"), ("remote.origin.url", "ssh://x/y"), ("remote.origin.promisor", "true")],
    [
        ("extensions.partialClone", "origin"),
        ("remote.origin.url", "ext::{trap}"),
        ("remote.origin.promisor", "true"),
        ("protocol.ext.allow", "always"),
    ],
    [
        ("core.editor", "{trap}"),
        ("sequence.editor", "{trap}"),
        ("core.askPass", "{trap}"),
        ("credential.helper", "{trap}"),
    ],
    [("core.worktree", "/"), ("core.bare", "true")],
    [("include.path", "{include}")],
    [("includeIf.gitdir:/**.path", "{include}")],
    [("core.gitProxy", "{trap}"), ("core.alternateRefsCommand", "{trap}"), ("uploadpack.packObjectsHook", "{trap}")],
    [("trailer.x.command", "{trap}"), ("interactive.diffFilter", "{trap}"), ("blame.ignoreRevsFile", "/etc/passwd")],
    [
        ("log.mailmap", "true"),
        ("mailmap.file", "/etc/passwd"),
        ("core.attributesFile", "{attributes}"),
        ("filter.y.clean", "{trap}"),
    ],
    [
        ("branch.main.remote", "ext::{trap}"),
        ("branch.main.merge", "refs/heads/main"),
        ("remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"),
    ],
]


@pytest.mark.parametrize("settings", CONFIGURATIONS, ids=lambda settings: settings[0][0])
def test_no_configuration_makes_it_run_a_program(repository, settings):
    path = trap(repository)
    hooks = repository.outside / "hooks"
    hooks.mkdir()
    for name in ("post-index-change", "fsmonitor-watchman", "post-checkout", "reference-transaction", "pre-commit"):
        shutil.copy(path, hooks / name)
        shutil.copy(path, repository.workspace / ".git" / "hooks" / name)
    include, attributes = repository.outside / "include", repository.outside / "attributes"
    include.write_text(f'[core]\n\tfsmonitor = {path}\n[diff]\n\texternal = {path}\n[filter "x"]\n\tclean = {path}\n')
    attributes.write_text("* filter=y\n")
    repository.write(".gitattributes", "* diff=x filter=x\n")
    places = {"trap": path, "hooks": hooks, "include": include, "attributes": attributes}
    config = repository.workspace / ".git" / "config"
    for key, value in settings:
        # Written by hand: `git config` would already obey what was set before.
        section, _, name = key.rpartition(".")
        head, _, rest = section.partition(".")
        title = f'[{head} "{rest}"]' if rest else f"[{head}]"
        with config.open("a") as file:
            file.write(f"{title}\n\t{name} = {value.format(**places)}\n")
    os.utime(repository.workspace / "a.txt")  # the index must look at its content again
    run_all(repository)


def test_the_trap_works(repository):
    """Plain git does step into it, so that the test above means something."""
    path = trap(repository)
    repository.write(".gitattributes", "* filter=x\n")
    git(repository.workspace, "config", "filter.x.clean", path)
    os.utime(repository.workspace / "a.txt")
    git(repository.workspace, "status")
    assert (repository.outside / "sprung").exists()


def test_the_users_own_drivers_are_not_set_to_work(repository, monkeypatch):
    path = trap(repository)
    config = repository.outside / "gitconfig"
    config.write_text(f'[diff "pdf"]\n\ttextconv = {path}\n[core]\n\tpager = {path}\n[diff]\n\texternal = {path}\n')
    for name, value in {
        "GIT_CONFIG_GLOBAL": str(config),
        "GIT_EXTERNAL_DIFF": path,
        "GIT_PAGER": path,
        "GIT_DIR": "/nowhere",
    }.items():
        monkeypatch.setenv(name, value)
    repository.write(".gitattributes", "* diff=pdf\n")
    assert "+more" in repository.call("Git", action="diff").text
    run_all(repository)


def test_submodules_are_left_alone(repository):
    path = trap(repository)
    inner = repository.outside / "inner"
    inner.mkdir()
    git(inner, "init", "-q")
    (inner / "f").write_text("x")
    git(inner, "add", "f")
    git(inner, "commit", "-qm", "x")
    git(repository.workspace, "submodule", "--quiet", "add", str(inner), "sub")
    git(repository.workspace, "commit", "-qm", "sub")
    with (repository.workspace / ".git/modules/sub/config").open("a") as file:
        file.write(f'[core]\n\tfsmonitor = {path}\n[filter "x"]\n\tclean = {path}\n')
    (repository.workspace / "sub/f").write_text("changed")
    (repository.workspace / "sub/.gitattributes").write_text("* filter=x\n")
    run_all(repository)
    # Asked for itself, it is a repository like others.
    assert "M f" in repository.call("Git", action="status", path="sub").text
    assert not (repository.outside / "sprung").exists()


def test_a_git_file_or_link_that_leads_outside_is_refused(repository):
    other = repository.outside / "other"
    other.mkdir()
    git(other, "init", "-q", "-b", "main")
    (other / "secret").write_text("secret")
    git(other, "add", "secret")
    git(other, "commit", "-qm", "a secret thing")
    for name, make in {
        "file": lambda place: (place / ".git").write_text(f"gitdir: {other}/.git\n"),
        "link": lambda place: (place / ".git").symlink_to(other / ".git"),
        "common": lambda place: _pretend(place, other / ".git"),
        "objects": lambda place: _linked(place, "objects", other / ".git/objects"),
        "refs": lambda place: _linked(place, "refs", other / ".git/refs"),
        "alternates": lambda place: _alternates(place, other / ".git/objects"),
    }.items():
        place = repository.workspace / name
        place.mkdir()
        make(place)
        for arguments in ({"action": "log"}, {"action": "status"}, {"action": "show"}):
            result = repository.call("Git", path=name, **arguments)
            assert result.status == "error", (name, result.text)
            assert "outside the workspace" in result.text, (name, result.text)
            assert "secret" not in result.text


def _pretend(place: Path, common: Path) -> None:
    (place / ".git").mkdir()
    (place / ".git/HEAD").write_text("ref: refs/heads/main\n")
    (place / ".git/commondir").write_text(f"{common}\n")


def _linked(place: Path, name: str, to: Path) -> None:
    git(place, "init", "-q", "-b", "main")
    shutil.rmtree(place / ".git" / name)
    (place / ".git" / name).symlink_to(to)


def _alternates(place: Path, to: Path) -> None:
    git(place, "init", "-q", "-b", "main")
    (place / ".git/objects/info/alternates").write_text(f"{to}\n")


def test_a_repository_around_the_workspace_is_not_used(bench):
    git(bench.workspace.parent, "init", "-q")
    result = bench.call("Git", action="status")
    assert result.status == "error"
    assert "top must lie in the workspace" in result.text


def test_a_bare_repository_in_a_folder_is_not_taken_for_one(bench):
    git(bench.workspace, "init", "-q", "--bare", "evil")
    with (bench.workspace / "evil/config").open("a") as file:
        file.write(f"[core]\n\tbare = false\n\tworktree = ..\n\tfsmonitor = {trap(bench)}\n")
    assert "No git repository" in bench.call("Git", action="status", path="evil").text
    assert not (bench.outside / "sprung").exists()


def test_a_pipe_in_the_place_of_a_file_does_not_hang_it(repository):
    for name in ("config", "packed-refs"):
        target = repository.workspace / ".git" / name
        target.unlink(missing_ok=True)
        os.mkfifo(target)
        repository.call("Git", action="status")
        target.unlink()
        target.write_text("")


def test_a_git_planted_in_the_workspace_is_not_run(repository, monkeypatch):
    planted = repository.write("bin/git", f"#!/bin/sh\ntouch {repository.outside}/sprung\n")
    planted.chmod(0o755)
    monkeypatch.setenv("PATH", f"{planted.parent}{os.pathsep}{os.environ['PATH']}")
    run_all(repository)
