"""Commands, options and the mistakes people make with them: one line each, no traceback, never a model call."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from tests.model_server import ModelServer


def assert_one_line(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The one line of a mistake."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    lines = done.stderr.strip().split("\n")
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("claw: ")
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["promt", "hello"], "did you mean 'prompt'"),
        (["docter"], "did you mean 'doctor'"),
        (["--verison"], "did you mean '--version'"),
        (["help", "lap"], "did you mean 'lab'"),
        (["modle"], "did you mean 'model'"),
        (["prompt", "hello", "--modle", "m"], "did you mean '--model'"),
        (["prompt", "hello", "--model"], "--model"),
        (["prompt", "hello", "--permission-mode", "paln"], "did you mean plan"),
        (["prompt", "hello", "--api", "openai"], "openai-chat"),
        (["prompt", "hello", "--max-turns", "none"], "--max-turns"),
        (["prompt", "hello", "--max-cost", "-1"], "--max-cost"),
        (["prompt", "hello", "--output-format", "xml"], "stream-json"),
        (["prompt", "hello", "--cwd", "nowhere"], "nowhere is not a directory"),
        (["prompt", "hello", "--allow", "Bash(git"], "--allow"),
        (["prompt", ""], "prompt is empty"),
        (["prompt", "hello", "--permission-mode", "xyz"], "'xyz' (--permission-mode). Use one of default, "),
        (["doctor", "--jsno"], "did you mean '--json'"),
        (["doctor", "now"], "unexpected argument 'now'. See claw doctor --help"),
        (["version", "now"], "no arguments"),
        (["blame", "nowhere.ipynb"], "There is no file nowhere.ipynb"),
        (["export", "nowhere.ipynb", "-o", "plain.ipynb"], "There is no file nowhere.ipynb"),
        (["session", "check", "nowhere.ipynb"], "There is no file nowhere.ipynb"),
        (["replay", "nowhere.ipynb"], "there is no notebook 'nowhere.ipynb'"),
    ],
)
def test_a_mistake_on_the_command_line_names_the_remedy(claw, arguments, said):
    with ModelServer() as server:
        done = claw.run(*arguments, CLAW_BASE_URL=f"{server.base_url}/v1", CLAW_MODEL="local/m")
        assert said in assert_one_line(done, 2)
        assert server.requests == []


def test_a_prompt_in_the_place_of_a_command_is_not_sent(claw):
    assert "claw prompt 'fix the bug'" in assert_one_line(claw.run("fix the bug"), 2)


@pytest.mark.parametrize("content", ["{bad", "[]", '{"modle": "x"}', '{"permissions": {"allow": ["Bash(git"]}}'])
def test_a_broken_settings_file_is_named(claw, content):
    (claw.home / "settings.json").write_text(content)
    assert str(claw.home / "settings.json") in assert_one_line(claw.run("prompt", "hello"), 2)


def test_help_names_every_command(claw):
    done = claw.run("--help")
    assert done.returncode == 0
    for name in ("prompt", "doctor", "lab", "demo", "version"):
        assert f"\n  {name} " in done.stdout
        page = claw.run(name, "--help")
        assert (page.returncode, page.stderr) == (0, "")
        assert page.stdout.startswith(f"usage: claw {name}")


def test_help_of_help(claw):
    assert claw.run("help", "help").stdout == claw.run("help", "--help").stdout == claw.run("--help").stdout


def test_version(claw):
    from claw_kernel import __version__

    assert claw.run("version").stdout == claw.run("--version").stdout == f"claw {__version__}\n"


def test_help_and_version_load_nothing_heavy():
    code = (
        "import sys; from claw_kernel.cli import main; main(['version']); main(['--help']);"
        "print([name for name in ('argparse', 'asyncio', 'httpx', 'pydantic', 'claw_kernel._core') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split("\n")[-2] == "[]"


def test_doctor_reports_every_topic(claw):
    done = claw.run("doctor", "--json")
    report = json.loads(done.stdout)
    assert {"packages", "native core", "settings", "state", "kernels", "labextension", "sandbox"} <= {
        finding["topic"] for finding in report["findings"]
    }
    assert done.returncode == (0 if report["ok"] else 1)
    assert all(finding["remedy"] for finding in report["findings"] if finding["state"] == "fail")


def test_doctor_names_keys_without_showing_them(claw):
    done = claw.run("doctor", ANTHROPIC_API_KEY="sk-very-secret-value")
    assert "ANTHROPIC_API_KEY" in done.stdout
    assert "very-secret" not in done.stdout + done.stderr


def test_doctor_says_whether_the_chosen_model_can_be_used(claw):
    def said(**environment: str) -> str:
        report = json.loads(claw.run("doctor", "--json", **environment).stdout)
        return "\n".join(f"{it['state']}: {it['message']}" for it in report["findings"] if it["topic"] == "model")

    assert "warn: foo is chosen (CLAW_MODEL): The model 'foo' has no provider." in said(CLAW_MODEL="foo")
    assert "warn: opus is chosen (CLAW_MODEL): No key for anthropic" in said(CLAW_MODEL="opus")
    assert "ok: opus is chosen (CLAW_MODEL)" in said(CLAW_MODEL="opus", ANTHROPIC_API_KEY="k")
    with ModelServer(models=["qwen3"]) as server:
        address = f"{server.base_url}/v1"
        assert "ok: local/qwen3 is used where nobody chooses another" in said(CLAW_BASE_URL=address)
        assert "ok: local/m is chosen (CLAW_MODEL)" in said(CLAW_BASE_URL=address, CLAW_MODEL="local/m")
    gone = said(CLAW_BASE_URL=address, CLAW_MODEL="local/m")
    assert f"warn: local/m is chosen (CLAW_MODEL), but nothing answers at {address}." in gone


def test_doctor_says_what_is_wrong_with_the_settings_and_goes_on(claw):
    (claw.home / "settings.json").write_text('{"permissions": {"deny": ["Read("]}}')
    done = claw.run("doctor")
    assert done.returncode == 1
    line = next(line for line in done.stdout.split("\n") if line.startswith("FAIL  settings"))
    assert "Read(" in line
    assert "sandbox" in done.stdout


def test_doctor_is_honest_about_confinement(claw):
    report = json.loads(claw.run("doctor", "--json").stdout)
    sandbox = [finding for finding in report["findings"] if finding["topic"] == "sandbox"]
    if sandbox[0]["state"] == "ok":
        assert "commands are confined by namespaces" in sandbox[0]["message"]
    else:
        assert sandbox[-1]["state"] == "warn"
        assert "each asks before it runs" in sandbox[-1]["message"]


def test_a_command_of_ones_own_in_the_sandbox(claw):
    if claw.run("sandbox", "check").returncode:
        pytest.skip("this machine cannot give the whole sandbox")
    done = claw.run("sandbox", "run", "--", "sh", "-c", "echo in > here; cat here; echo x > /usr/there; exit 7")
    assert (done.stdout, done.returncode) == ("in\n", 7)
    assert "Read-only file system" in done.stderr
    assert (claw.workspace / "here").exists()
    assert claw.run("sandbox", "run", "--", "sh", "-c", "kill -KILL $$").returncode == 137
    for arguments, code, says in [
        (["run", "--", "no-such-program"], 127, "no program"),
        (["run"], 2, "nothing to run"),
        (["run", "--net", "a b", "--", "true"], 2, "a b"),
        (["run", "--workspace", "/nowhere", "--", "true"], 2, "cannot be set up"),
        (["walk"], 2, "run and check"),
    ]:
        done = claw.run("sandbox", *arguments)
        assert (done.returncode, says in done.stderr, "Traceback" in done.stderr) == (code, True, False), done.stderr


def test_a_project_may_only_tighten_the_sandbox(claw):
    folder = claw.workspace / ".claw"
    folder.mkdir(exist_ok=True)
    wanted = {"mode": "off", "writable": ["/"], "hidden": ["secret"], "proxy": "http://evil:1", "no_proxy": "*"}
    (folder / "settings.json").write_text(json.dumps({"sandbox": wanted}))
    from claw_kernel.settings import load_settings

    settings = load_settings(
        str(claw.workspace), {"HOME": str(claw.workspace / "home"), "https_proxy": "http://mine:1"}
    )
    assert dict(settings.sandbox) == {"hidden": ["secret"]}
    assert settings.sandbox_options() == {"hidden": ["secret"], "proxy": "http://mine:1", "no_proxy": ""}
    assert any("sandbox" in notice for notice in settings.notices)


class OtherProxy(BaseHTTPRequestHandler):
    """A company's: it notes what it is asked for."""

    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Proxy-Authorization"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"through the other proxy")

    def log_message(self, *_: object) -> None:
        pass


def test_granted_hosts_are_reached_through_the_proxy_of_the_machine(claw):
    if claw.run("sandbox", "check").returncode:
        pytest.skip("this machine cannot give the whole sandbox")
    fetch = "import sys, urllib.request as r; print(r.urlopen('http://' + sys.argv[1], timeout=20).read().decode())"

    def run(host: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = (sys.executable, "-c", fetch, host)
        return claw.run("sandbox", "run", "--net", "granted.invalid", "--", *command, **environment)

    with ThreadingHTTPServer(("127.0.0.1", 0), OtherProxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        named = {"http_proxy": f"http://me:word@127.0.0.1:{server.server_address[1]}"}
        assert run("granted.invalid/x", **named).stdout == "through the other proxy\n"
        assert OtherProxy.asked == [("http://granted.invalid:80/x", "Basic bWU6d29yZA==")]
        assert "403" in run("other.invalid/x", **named).stderr
        assert "502" in run("granted.invalid/x", **named, no_proxy="granted.invalid").stderr
        assert "502" in run("granted.invalid/x").stderr
        assert len(OtherProxy.asked) == 1
        assert "word" not in claw.run("sandbox", "run", "--", "env", **named).stdout
        server.shutdown()
    assert "502" in run("granted.invalid/x", **named).stderr
    unusable = run("granted.invalid/x", https_proxy="socks5://127.0.0.1:1").stderr
    assert "502" in unusable


def test_lab_passes_its_arguments_on(claw):
    done = claw.run("lab", "--version")
    assert done.returncode == 0
    assert done.stdout.strip().split(".")[0] == "4"


def test_interrupt_before_anything_is_one_line(claw):
    """A prompt that is still being read from a pipe can be given up."""
    import fcntl
    import signal
    import termios

    running = claw.start("prompt", "-", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    running.stdin.write("the first half")
    running.stdin.flush()
    while fcntl.ioctl(running.stdin, termios.FIONREAD, bytes(4)) != bytes(4):  # until it was read
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, stderr = running.communicate(timeout=10)
    assert running.returncode == 130
    assert "Traceback" not in stderr


def test_a_command_of_notebooks_is_pointed_to(claw) -> None:
    from claw_kernel.cli import COMMANDS, IN_NOTEBOOKS
    from claw_magics.commands import COMMANDS as LINE_COMMANDS

    assert set(IN_NOTEBOOKS) == set(LINE_COMMANDS) - set(COMMANDS)
    done = claw.run("model")
    assert done.returncode == 2
    assert done.stderr == "claw: model is a command of notebooks: write %claw model in a cell. See claw --help.\n"
