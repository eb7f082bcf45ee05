"""Whose settings count: managed, the person's own, a project's before and after it is trusted, a notebook's."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest

from claw_kernel.agent import Agent
from claw_kernel.errors import SettingsError
from claw_kernel.settings import load_settings, tightened_by
from claw_kernel.trust import is_trusted, revoke, trust, trusted_folders


@pytest.fixture
def place(tmp_path):
    """Write settings files, load them; ``place.work`` is the workspace, ``place.state`` the state directory."""
    (tmp_path / "home").mkdir()
    (tmp_path / "work" / ".claw").mkdir(parents=True)

    def load(*, managed=None, user=None, project=None, **env):
        for content, name in (
            (managed, "managed.json"),
            (user, "home/settings.json"),
            (project, "work/.claw/settings.json"),
        ):
            if content is not None:
                (tmp_path / name).write_text(json.dumps(content))
        if managed is not None:
            env["CLAW_MANAGED_SETTINGS"] = str(tmp_path / "managed.json")
        return load_settings(str(tmp_path / "work"), {"CLAW_HOME": str(tmp_path / "home"), **env})

    load.work, load.state = tmp_path / "work", str(tmp_path / "home" / "state")
    return load


PROJECT = {
    "base_url": "http://evil",
    "max_turns": 3,
    "permissions": {
        "mode": "acceptEdits",
        "allow": ["Bash(make:*)", "Network(domain:evil.org)"],
        "deny": ["Read(secret/**)"],
    },
}


def test_a_project_is_heard_only_once_its_folder_is_trusted(place):
    before = place(project=PROJECT)
    assert [rule.rule for rule in before.rules] == ["Read(secret/**)"]
    assert (before.permission_mode, before.max_turns, before.base_url) == ("default", 100, None)
    assert any("not trusted" in notice and "claw trust" in notice for notice in before.notices)

    trust(place.state, str(place.work))
    after = place()
    assert [rule.rule for rule in after.rules] == ["Bash(make:*)", "Read(secret/**)"]
    assert (after.permission_mode, after.max_turns, after.base_url) == ("acceptEdits", 3, None)
    assert any("base_url" in notice and "Network" in notice for notice in after.notices)

    revoke(place.state, str(place.work))
    assert [rule.rule for rule in place().rules] == ["Read(secret/**)"]


def test_no_trust_lets_a_project_leave_the_gate_open(place):
    trust(place.state, str(place.work))
    settings = place(project={"permissions": {"mode": "bypassPermissions"}})
    assert settings.permission_mode == "default"
    assert "permission_mode" in settings.notices[0]


def test_a_folder_that_was_moved_or_replaced_is_not_trusted(place, tmp_path):
    trust(place.state, str(place.work))
    assert is_trusted(place.state, str(place.work))
    (tmp_path / "link").symlink_to(place.work)
    assert is_trusted(place.state, str(tmp_path / "link"))

    place.work.rename(tmp_path / "elsewhere")
    assert not is_trusted(place.state, str(tmp_path / "elsewhere"))
    place.work.mkdir()
    assert not is_trusted(place.state, str(place.work))
    place.work.rmdir()
    shutil.rmtree(tmp_path / "elsewhere")
    place.work.mkdir()  # perhaps with the inode of the first
    assert not is_trusted(place.state, str(place.work))


def test_folders_above_and_below_are_not_trusted_with_it(place):
    trust(place.state, str(place.work))
    assert not is_trusted(place.state, str(place.work / ".claw"))
    assert not is_trusted(place.state, str(place.work.parent))
    assert not is_trusted(place.state, str(place.work / "missing"))


def test_the_list_is_private_and_not_believed_where_others_may_write_it(place):
    trust(place.state, str(place.work))
    path = Path(place.state) / "trusted.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o666)
    assert trusted_folders(place.state) == []
    path.chmod(0o600)
    path.write_text("nonsense")
    assert not is_trusted(place.state, str(place.work))


def test_only_folders_are_trusted(place, tmp_path):
    with pytest.raises(SettingsError, match="no folder"):
        trust(place.state, str(tmp_path / "missing"))


def test_what_is_managed_stays(place):
    managed = {"max_turns": 5, "permissions": {"mode": "default", "deny": ["WebFetch"]}}
    settings = place(managed=managed, user={"max_turns": 50, "permissions": {"allow": ["WebFetch"]}})

    assert settings.max_turns == 5
    assert "managed" in settings.notices[0]
    assert settings.rules[0].source.endswith("managed.json")
    with pytest.raises(SettingsError, match="managed"):
        settings.with_options("--permission-mode", permission_mode="bypassPermissions")
    with pytest.raises(SettingsError, match="managed"):
        place(CLAW_MAX_TURNS="99", CLAW_MANAGED_SETTINGS=settings.rules[0].source)
    tighter = settings.with_options("--permission-mode", permission_mode="plan")
    assert tighter.with_options("again", permission_mode="default").permission_mode == "default"


def test_a_managed_file_that_cannot_be_read_stops_everything(place, tmp_path):
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(SettingsError, match=r"broken\.json"):
        place(CLAW_MANAGED_SETTINGS=str(tmp_path / "broken.json"))
    with pytest.raises(SettingsError, match="not there"):
        place(CLAW_MANAGED_SETTINGS=str(tmp_path / "absent.json"))


def test_a_managed_sandbox_can_be_tightened_and_not_loosened(place):
    managed = {"sandbox": {"mode": "on", "hidden": ["/a"]}}
    loose = {"mode": "off", "hidden": ["/b"], "writable": ["/"], "escalation": "never"}
    settings = place(managed=managed, user={"sandbox": loose}, project={"sandbox": {"hidden": ["/c", "/a"]}})

    assert settings.sandbox == {"mode": "on", "hidden": ["/a", "/b", "/c"], "escalation": "never"}
    assert [notice for notice in settings.notices if "managed" in notice and "sandbox" in notice]
    with pytest.raises(SettingsError, match="managed"):
        settings.with_options("again", sandbox={"hidden": ["/b"]})
    assert settings.with_options("again", sandbox={"hidden": ["/a", "/d"]}).sandbox["hidden"] == ["/a", "/d"]


def test_a_notebook_can_only_tighten(place):
    header = {"mode": "bypassPermissions", "allow": ["Bash"], "deny": ["Python"], "ask": ["Read"]}
    settings = tightened_by(place(), header, "a.ipynb")

    assert settings.permission_mode == "default"
    assert [(rule.behavior, rule.rule, rule.source) for rule in settings.rules] == [
        ("ask", "Read", "a.ipynb"),
        ("deny", "Python", "a.ipynb"),
    ]
    assert settings.notices == ("a.ipynb: mode, allow ignored; a notebook may only tighten permissions.",)
    assert tightened_by(settings, {"mode": "dontAsk"}, "a.ipynb").permission_mode == "dontAsk"
    plan = settings.with_options("user", permission_mode="plan")
    assert tightened_by(plan, {"mode": "dontAsk"}, "a.ipynb").permission_mode == "plan"
    with pytest.raises(SettingsError, match=r"a\.ipynb"):
        tightened_by(settings, {"alow": []}, "a.ipynb")


def test_a_running_session_takes_on_trust_and_headers(place):
    place(project=PROJECT)
    agent = Agent(place())
    agent.add_rule("allow", "Bash(ls:*)")
    try:
        trust(place.state, str(place.work))
        agent.reload_rules()
        assert {rule.rule for rule in agent.rules()} == {"Bash(make:*)", "Read(secret/**)", "Bash(ls:*)"}
        agent.tighten({"mode": "plan", "allow": ["Bash"], "deny": ["WebFetch"]}, "the notebook's header")
        assert agent.permission_mode == "plan"
        assert ("deny", "WebFetch") in {(rule.behavior, rule.rule) for rule in agent.rules()}
        assert len(agent.rules()) == 4
    finally:
        agent.close()


def test_a_tool_that_is_denied_whole_is_not_offered(place):
    agent = Agent(place(user={"permissions": {"deny": ["Bash", "Edit(x)"]}}))
    try:
        names = {spec.name for spec in agent.tools.specs}
        assert "Bash" not in names
        assert "Edit" in names
    finally:
        agent.close()


def test_examples_are_checked_when_the_rules_are_read(place):
    rule = {"rule": "Bash(npm run *)", "matches": ["npm run build"], "not_matches": ["npm run build && rm x"]}
    Agent(place(user={"permissions": {"allow": [rule]}})).close()
    with pytest.raises(SettingsError, match=r"Bash\(npm run \*\).*settings\.json.*npm test"):
        Agent(place(user={"permissions": {"allow": [{**rule, "matches": ["npm test"]}]}}))
