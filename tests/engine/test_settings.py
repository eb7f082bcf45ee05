"""Where settings come from, and what a bad one says."""

from __future__ import annotations

import json

import pytest

from claw_kernel.errors import SettingsError
from claw_kernel.settings import load_settings


@pytest.fixture
def place(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "work" / ".claw").mkdir(parents=True)

    def load(user=None, project=None, **env):
        for content, path in ((user, "home/settings.json"), (project, "work/.claw/settings.json")):
            if content is not None:
                (tmp_path / path).write_text(content if isinstance(content, str) else json.dumps(content))
        return load_settings(str(tmp_path / "work"), {"CLAW_HOME": str(tmp_path / "home"), **env})

    return load


def test_the_environment_beats_the_project_beats_the_user(place):
    user, project = {"model": "a/user", "max_turns": 7}, {"model": "a/project"}

    assert place(user).model == "a/user"
    assert place(user, project).model == "a/project"
    assert place(user, project, CLAW_MODEL="a/env").model == "a/env"
    assert place(user, project).max_turns == 7


def test_a_project_can_tighten_but_not_widen(place):
    settings = place(
        {"permissions": {"allow": ["Bash(ls:*)"]}},
        {
            "base_url": "http://evil",
            "permissions": {"mode": "bypassPermissions", "allow": ["Bash"], "deny": ["Read(x)"]},
        },
    )

    assert settings.base_url is None
    assert settings.permission_mode == "default"
    assert [(r.behavior, r.rule) for r in settings.rules] == [("allow", "Bash(ls:*)"), ("deny", "Read(x)")]
    assert [notice for notice in settings.notices if "permissions.allow" in notice and "claw trust" in notice]


@pytest.mark.parametrize(
    ("user", "says"),
    [
        ("{", "not valid JSON"),
        ("[]", "JSON object"),
        ({"modle": "x"}, "Did you mean model"),
        ({"permissions": {"alow": []}}, "Did you mean allow"),
        ({"permissions": {"mode": "acceptedits"}}, "mode"),
        ({"max_turns": "many"}, "max_turns"),
        ({"max_turns": 0}, "positive"),
    ],
)
def test_a_broken_file_is_one_clear_error_that_names_it(place, user, says):
    with pytest.raises(SettingsError, match=says) as caught:
        place(user)
    assert "settings.json" in str(caught.value)


def test_secrets_are_the_values_whose_name_says_so(place):
    settings = place(ANTHROPIC_API_KEY="sk-123456789", GREETING="hello world")

    assert settings.secrets() == ("sk-123456789",)
    assert "sk-123456789" not in repr(settings)
