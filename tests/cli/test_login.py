"""``claw login``: keys stored for one user, used, shown by place only, and forgotten."""

import json
import os
import stat
import subprocess
import sys

import pytest

from claw_kernel.credentials import find_key, remove_key, store_key
from claw_kernel.errors import SettingsError
from tests.model_server import FRAMES, ModelServer, text

KEY = "sk-test-0123456789abcdef"

KEYRING = '''
import json, os
from pathlib import Path
from keyring.backend import KeyringBackend

class Backend(KeyringBackend):
    """Keeps its keys in a file that a test can look into."""
    priority = 9
    path = Path(os.environ["TEST_KEYRING"])
    def _all(self):
        return json.loads(self.path.read_text()) if self.path.exists() else {}
    def get_password(self, service, username):
        if username and "TEST_KEYRING_LOCKED" in os.environ:
            raise RuntimeError("it is locked")
        return self._all().get(service + "/" + username)
    def set_password(self, service, username, password):
        self.path.write_text(json.dumps(self._all() | {service + "/" + username: password}))
    def delete_password(self, service, username):
        kept = self._all(); del kept[service + "/" + username]; self.path.write_text(json.dumps(kept))
'''


@pytest.fixture
def claw(tmp_path):
    env = {k: v for k, v in os.environ.items() if "KEY" not in k and "TOKEN" not in k and not k.startswith("CLAW")}
    env |= {
        "HOME": str(tmp_path),
        "CLAW_HOME": str(tmp_path / ".claw"),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
    }

    def run(*arguments, given="", **more):
        asked = [sys.executable, "-m", "claw_kernel.cli", *arguments]
        return subprocess.run(
            asked, input=given, capture_output=True, text=True, timeout=60, env=env | more, cwd=tmp_path
        )

    return run


def test_a_stored_key_is_used_and_never_shown(claw, tmp_path):
    done = claw("login", "anthropic", given=f"{KEY}\n")
    path = tmp_path / ".claw" / "credentials.json"
    assert done.returncode == 0, done.stderr
    assert str(path) in done.stdout
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with ModelServer() as server:
        server.answer(FRAMES["anthropic"]([text(f"your key is {KEY}, is it not?")]))
        asked = claw("prompt", "hello", "--model", "anthropic/m", ANTHROPIC_BASE_URL=server.base_url)
    assert server.requests[0].headers["x-api-key"] == KEY
    assert "is it not?" in asked.stdout
    doctor = claw("doctor")
    assert f"anthropic ({path})" in doctor.stdout
    for shown in (done, asked, doctor):
        assert KEY not in shown.stdout + shown.stderr
    assert KEY not in "".join(
        p.read_text(errors="replace") for p in (tmp_path / ".claw" / "state").rglob("*") if p.is_file()
    )
    gone = claw("logout", "anthropic")
    assert (gone.returncode, json.loads(path.read_text())) == (0, {})
    assert claw("logout", "anthropic").returncode == 1


def test_the_environment_comes_first(claw):
    assert "ANTHROPIC_API_KEY is set" in claw("login", "anthropic", given=KEY, ANTHROPIC_API_KEY="sk-other").stdout
    with ModelServer() as server:
        server.answer(FRAMES["anthropic"]([text("ok")]))
        claw("prompt", "x", "--model", "anthropic/m", ANTHROPIC_BASE_URL=server.base_url, ANTHROPIC_API_KEY="sk-other")
    assert server.requests[0].headers["x-api-key"] == "sk-other"


@pytest.mark.parametrize(
    ("arguments", "given", "line"),
    [
        (["anthropik"], KEY, "did you mean 'anthropic'?"),
        (["anthropic"], "", "no key given"),
        (["anthropic"], "two words", "no key has"),
        (["anthropic", KEY], KEY, "unexpected argument"),
    ],
)
def test_mistakes_are_one_line(claw, arguments, given, line):
    done = claw("login", *arguments, given=given)
    assert done.returncode == 2
    assert line in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_others_may_read_is_refused(tmp_path):
    store_key("openai", KEY, str(tmp_path))
    (tmp_path / "credentials.json").chmod(0o640)
    with pytest.raises(SettingsError, match="chmod 600"):
        find_key("openai", str(tmp_path))


def test_a_project_holds_no_keys(claw, tmp_path):
    (tmp_path / "p" / ".claw").mkdir(parents=True)
    (tmp_path / "p" / ".claw" / "credentials.json").write_text(json.dumps({"anthropic": KEY}))
    done = claw("prompt", "x", "--model", "anthropic/m", "--cwd", str(tmp_path / "p"))
    assert "claw login anthropic" in done.stderr


def test_a_keyring_where_there_is_one(claw, tmp_path):
    pytest.importorskip("keyring", reason="the extra claw-jupyter[keyring] is not installed")
    (tmp_path / "backend_of_test.py").write_text(KEYRING)
    ring = {
        "PYTHON_KEYRING_BACKEND": "backend_of_test.Backend",
        "PYTHONPATH": str(tmp_path),
        "TEST_KEYRING": str(tmp_path / "ring"),
    }
    assert "keyring" in claw("login", "openai", given=KEY, **ring).stdout
    assert json.loads((tmp_path / "ring").read_text()) == {"claw-jupyter/openai": KEY}
    assert json.loads((tmp_path / ".claw" / "credentials.json").read_text()) == {"openai": ""}
    with ModelServer() as server:
        server.answer(FRAMES["openai-chat"]([text("ok")]))
        asked = claw("prompt", "x", "--model", "openai/m", OPENAI_BASE_URL=server.base_url, **ring)
    assert asked.stdout.strip() == "ok"
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    locked = claw("prompt", "x", "--model", "openai/m", TEST_KEYRING_LOCKED="1", **ring)
    assert "keyring did not give the key of openai: it is locked. Unlock it" in locked.stderr
    assert "Traceback" not in locked.stderr
    assert claw("logout", "openai", **ring).returncode == 0


def test_removing_what_is_not_there(tmp_path):
    assert remove_key("openai", str(tmp_path)) == []
