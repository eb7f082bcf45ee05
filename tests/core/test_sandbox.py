"""Commands in the real sandbox: what they cannot do, what they can, and that nothing of them is left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from claw_kernel._core import Core
from tests.core.conftest import Bench
from tests.processes import children, open_files, wait_until, with_arguments


@pytest.fixture(scope="module", autouse=True)
def whole_sandbox(tmp_path_factory):
    core = Core(str(tmp_path_factory.mktemp("probe")), state_dir=str(tmp_path_factory.mktemp("probe-state")))
    if missing := json.loads(core.sandbox_report())["missing"]:
        pytest.skip(f"this machine cannot give the whole sandbox: {missing}")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with secrets."""
    home = tmp_path_factory.mktemp("home")
    for name in (".ssh/id_ed25519", ".aws/credentials", ".local/share/jupyter/runtime/kernel-1.json", ".netrc"):
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a-secret")
    return home


@pytest.fixture
def bench(tmp_path, home):
    bench = Bench(tmp_path, home=str(home))
    yield bench
    bench.core.close()


def python(bench, code: str, **options):
    bench.write("attack.py", textwrap.dedent(code))
    return bench.call("Bash", command=f"{sys.executable} attack.py", **options)


# --- files ---


@pytest.mark.parametrize(
    "command",
    [
        "echo x > {outside}/new",
        "echo x >> {outside}/there",
        "rm {outside}/there",
        "mv {outside}/there {outside}/moved",
        "chmod 777 {outside}/there",
        "touch -d yesterday {outside}/there",
        "ln {outside}/there linked && echo x > linked",
        "ln -s {outside} link && echo x > link/new",
        "echo x > /proc/self/root{outside}/new",
        "echo x > /usr/claw-was-here",
        "mkdir /claw-was-here",
        "mknod device b 8 0 && cat device",
    ],
)
def test_nothing_outside_can_be_changed(bench, command):
    there = bench.outside / "there"
    there.write_text("there")
    before = there.stat()
    result = bench.call("Bash", command=command.format(outside=bench.outside))
    assert result.status == "error", result.text
    after = there.stat()
    assert there.read_text() == "there"
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert sorted(path.name for path in bench.outside.iterdir()) == ["there"]


def test_the_workspace_and_tmp_can_be_written(bench):
    command = "echo in > a && mkdir -p d/e && mv a d/e/b && cat d/e/b && t=$(mktemp) && echo tmp > $t && cat $t"
    assert bench.call("Bash", command=command).text == "in\ntmp\n"
    assert (bench.workspace / "d/e/b").read_text() == "in\n"


def test_tmp_is_the_sessions_own(bench):
    with socket.socket(socket.AF_UNIX) as server:
        path = f"/tmp/claw-test-{os.getpid()}.sock"
        server.bind(path)
        try:
            assert path.rsplit("/", 1)[1] not in bench.call("Bash", command="ls -a /tmp; echo x > /tmp/kept").text
        finally:
            Path(path).unlink()
    assert bench.call("Bash", command="cat /tmp/kept").text == "x\n"
    assert not Path("/tmp/kept").exists()


@pytest.mark.parametrize(
    "name", [".ssh/id_ed25519", ".aws/credentials", ".local/share/jupyter/runtime/kernel-1.json", ".netrc"]
)
def test_secrets_cannot_be_read(tmp_path_factory, bench, home, name):
    # Below /tmp everything is hidden; a home elsewhere shows what the list does.
    assert "a-secret" not in bench.call("Bash", command=f"cat {home / name}; ls -R {home}").text
    elsewhere = Path("/var/lib") if os.geteuid() == 0 else Path.home()
    base = elsewhere / f"claw-test-{os.getpid()}"
    try:
        (base / name).parent.mkdir(parents=True)
        (base / name).write_text("a-secret")
        (base / "plain").write_text("plain")
        other = Bench(tmp_path_factory.mktemp("w"), home=str(base))
        result = other.call(
            "Bash", command=f"cat {base}/plain {base / name}; grep -r a-sec {base}; cp -r {base} copied"
        )
        other.core.close()
        assert result.text.startswith("plain")
        assert "a-secret" not in result.text
    finally:
        shutil.rmtree(base)


def test_a_secret_in_a_workspace_below_a_hidden_place_is_hidden_too(tmp_path):
    """Where that place is one that commands have of their own, the workspace is shown in it all the same."""
    hidden = [str(tmp_path), str(tmp_path / "work/.env")]
    bench = Bench(tmp_path, hidden=hidden)
    bench.write(".env", "a-secret")
    bench.write("plain", "plain")
    result = bench.call("Bash", command="cat plain .env")
    bench.core.close()
    assert "plain" in result.text
    assert "a-secret" not in result.text


def test_file_tools_obey_the_same_list(tmp_path):
    bench = Bench(tmp_path, home=str(tmp_path / "work"))
    bench.core.close()
    bench.write(".ssh/id", "a-secret")
    other = Core(
        str(bench.workspace), state_dir=str(tmp_path / "s2"), sandbox=json.dumps({"home": str(bench.workspace)})
    )
    prepared = other.prepare("Read", json.dumps({"file_path": ".ssh/id"}))
    assert (prepared.decision, "holds secrets" in prepared.reason) == ("deny", True)


def test_the_kernels_own_memory_files_and_variables_are_out_of_reach(bench, monkeypatch):
    monkeypatch.setenv("MY_SECRET", "do-not-show-this")
    pid = os.getpid()
    command = f"cat /proc/{pid}/environ /proc/*/environ | tr '\\0' '\\n'; ls -d /proc/{pid}; kill -9 {pid}; ls -l /proc/{pid}/fd"
    text = bench.call("Bash", command=command).text
    assert "do-not-show-this" not in text
    assert "No such" in text


# --- protected places ---


def test_what_is_protected_cannot_be_changed_or_moved_away(bench):
    subprocess.run(["git", "init", "-q", bench.workspace], check=True)
    bench.write(".vscode/settings.json", "{}")
    for command in (
        "cp /bin/true .git/hooks/pre-commit",
        "git config core.fsmonitor ./evil",
        "echo x | tee -a .git/config",
        "rm -rf .vscode",
        "mv .vscode other",
        "mv .git/hooks other",
        "cp /bin/true .vscode/tasks.json",
        "rm .git/config",
    ):
        result = bench.call("Bash", command=command)
        assert result.status == "error", f"{command}: {result.text}"
    assert bench.workspace.joinpath(".vscode/settings.json").read_text() == "{}"
    assert "fsmonitor" not in bench.workspace.joinpath(".git/config").read_text()


@pytest.mark.parametrize(
    ("command", "place"),
    [
        ("mkdir -p .vscode && cp /bin/true .vscode/tasks.json", ".vscode"),
        ("mkdir x && echo x > x/tasks.json && mv x .vscode", ".vscode"),
        ("ln -s /etc .claude", ".claude"),
        ("echo x > a && ln a .envrc", ".envrc"),
        ("mkdir -p .github/workflows && cp /bin/true .github/workflows/ci.yml", ".github/workflows"),
        ("cp /bin/true sub/.mcp.json", "sub/.mcp.json"),
        ("cp /bin/true sitecustomize.py", "sitecustomize.py"),
        ("git init -q sub/r && git -C sub/r config core.fsmonitor ./evil", "sub/r/.git/config"),
        ("git init -q sub/r && cp /bin/true sub/r/.git/hooks/post-commit", "sub/r/.git/hooks"),
        ("git init -q --bare sub/b && git -C sub/b config alias.st '!evil'", "sub/b/config"),
        ("echo 'gitdir: /tmp/evil' | cp /dev/stdin .git", ".git"),
    ],
)
def test_new_protected_places_are_taken_back_and_named(bench, command, place):
    (bench.workspace / "sub").mkdir()
    result = bench.call("Bash", command=command)
    assert "taken back" in result.text, result.text
    assert str(bench.workspace / place) in result.text
    assert not os.path.lexists(bench.workspace / place)
    assert len(list((bench.state / "quarantine").glob("*/*"))) == 1


def test_of_a_new_protected_folder_only_what_was_named_and_allowed_stays(bench):
    command = "mkdir .vscode && echo 1 > .vscode/settings.json && cp /bin/true .vscode/tasks.json"
    result = bench.call("Bash", command=command)
    assert str(bench.workspace / ".vscode/tasks.json") in result.text
    assert [entry.name for entry in (bench.workspace / ".vscode").iterdir()] == ["settings.json"]


def test_no_file_gets_the_rights_of_its_owner(bench):
    command = "cp /bin/true t; chmod 4755 t; chmod u+s t; python -c 'import os; os.chmod(\"t\", 0o4755)'; chmod 755 t"
    assert bench.call("Bash", command=command).text.count("Operation not permitted") == 3
    assert bench.workspace.joinpath("t").stat().st_mode & 0o7777 == 0o755


def test_what_git_makes_of_itself_stays(bench):
    command = (
        "git init -q r && cd r && git config user.name A && git config user.email a@b && echo x > f && git add f && "
        "git commit -qm one && git worktree add -q ../tree -b other && git log --oneline | wc -l"
    )
    assert bench.call("Bash", command=command).text == "1\n"
    assert (bench.workspace / "r/.git/config").exists()
    assert (
        bench.call("Bash", command="cd r && echo y > f && git commit -qam two && git log --oneline | wc -l").text
        == "2\n"
    )


def test_a_protected_place_that_was_allowed_can_be_written(bench):
    bench.write(".vscode/settings.json", "{}")
    assert bench.call("Bash", command="echo allowed > .vscode/settings.json").status == "ok"
    assert (bench.workspace / ".vscode/settings.json").read_text() == "allowed\n"
    assert bench.call("Bash", command="echo allowed > .envrc").status == "ok"
    assert (bench.workspace / ".envrc").exists()


# --- network ---


@pytest.fixture
def server():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"reached")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


FETCH = "import urllib.request; print(urllib.request.urlopen('http://localhost:{port}/', timeout=5).read().decode())"


def test_there_is_no_network(bench, server):
    text = bench.call("Bash", command=f"echo x > /dev/tcp/127.0.0.1/{server}; echo x > /dev/udp/8.8.8.8/53").text
    assert "refused" in text
    assert "unreachable" in text
    assert "reached\n" not in python(bench, FETCH.format(port=server)).text
    assert "socket.gaierror" in python(bench, "import socket; socket.getaddrinfo('example.org', 80)").text


def test_a_granted_host_is_reached_through_the_proxy_and_nothing_else(bench, server):
    bench.set_policy("bypassPermissions", allow=[f"Network(domain:localhost:{server})"])
    assert python(bench, FETCH.format(port=server)).text == "reached\n"
    refused = python(bench, FETCH.format(port=server).replace("localhost", "127.0.0.1"))
    assert "403" in refused.text
    direct = f"import os\nfor n in list(os.environ):\n    if 'proxy' in n.lower(): del os.environ[n]\n{FETCH.format(port=server)}"
    assert "reached\n" not in python(bench, direct).text


def test_servers_inside_work(bench):
    code = """
        import http.server, threading, urllib.request
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(urllib.request.urlopen(f"http://localhost:{server.server_address[1]}/attack.py").status)
    """
    assert python(bench, code).text.splitlines()[-1] == "200"


@pytest.mark.parametrize("family", ["AF_VSOCK", "AF_PACKET", "AF_ALG", "AF_BLUETOOTH"])
def test_other_sockets_are_refused(bench, family):
    text = python(bench, f"import socket\nsocket.socket(getattr(socket, '{family}'), socket.SOCK_RAW, 0)").text
    assert "Error" in text


def test_services_of_the_machine_cannot_be_reached(bench):
    name = f"claw-test-{os.getpid()}"
    elsewhere = Path("/var/lib" if os.geteuid() == 0 else Path.home()) / f"{name}.sock"
    with socket.socket(socket.AF_UNIX) as abstract, socket.socket(socket.AF_UNIX) as named:
        abstract.bind(f"\0{name}")
        abstract.listen()
        named.bind(str(elsewhere))
        named.listen()
        try:
            code = "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect({})\nprint('reached')"
            assert "reached\n" not in python(bench, code.format(repr(f"\0{name}"))).text
            assert "reached\n" not in python(bench, code.format(repr(str(elsewhere)))).text
        finally:
            elsewhere.unlink()
    assert bench.call("Bash", command="ls -A /run").text == "(no output)"


# --- processes and the kernel ---

SYSCALL = """
    import ctypes, os
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall({arguments})
    print("result", result, ctypes.get_errno())
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86-64")
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("mount", "165, b'none', b'/tmp', b'tmpfs', 0, None"),
        ("umount2", "166, b'/proc', 2"),
        ("unshare user", "272, 0x10000000"),
        ("clone user", "56, 0x10000000 | 17, 0, 0, 0, 0"),
        ("setns", "308, 0, 0"),
        ("ptrace", "101, 0, 0, 0, 0"),
        ("process_vm_readv", "310, 1, 0, 0, 0, 0, 0"),
        ("io_uring_setup", "425, 8, 0"),
        ("bpf", "321, 0, 0, 0"),
        ("perf_event_open", "298, 0, 0, -1, -1, 0"),
        ("userfaultfd", "323, 0"),
        ("keyctl", "250, 0, 0"),
        ("kexec_load", "246, 0, 0, 0, 0"),
        ("chroot", "161, b'/tmp'"),
        ("open_by_handle_at", "304, -100, 0, 0"),
        ("ioctl TIOCSTI", "16, 0, 0x5412, b'x'"),
        ("ioctl TIOCSTI with high bits", "16, 0, ctypes.c_uint64(0x100005412), b'x'"),
    ],
)
def test_dangerous_calls_are_refused(bench, name, arguments):
    assert python(bench, SYSCALL.format(arguments=arguments)).text.strip() == "result -1 1"


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="about x86-64")
def test_calls_of_other_architectures_end_the_process(bench):
    result = python(bench, SYSCALL.format(arguments="0x40000000 + 39"))
    assert result.details["signal"] == "SIGSYS" or "exit code 159" in result.text, result.text
    if not shutil.which("cc"):
        pytest.skip("no C compiler for the 32-bit call")
    bench.write(
        "old.c", 'int main(void) { int r; __asm__ volatile("int $0x80" : "=a"(r) : "a"(20)); return r > 0 ? 0 : 1; }'
    )
    result = bench.call("Bash", command="cc -o old old.c && exec ./old")
    assert result.details.get("signal") == "SIGSYS", result.text


def test_no_capability_and_no_new_privilege(bench):
    text = bench.call("Bash", command="grep -E 'Cap(Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp:' /proc/self/status").text
    fields = dict(line.split(":\t") for line in text.splitlines())
    assert {int(fields[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    shutil.copy(shutil.which("id"), bench.workspace / "mine").chmod(0o4755)
    assert bench.call("Bash", command="./mine -u").text == f"{os.geteuid()}\n"


def test_descriptors_are_not_inherited(bench):
    with (bench.outside / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        text = bench.call("Bash", command="ls -l /proc/self/fd | grep -v total | awk '{print $9}'").text
    assert text.split() == ["0", "1", "2", "3"]  # 3: the folder that ls reads


def test_what_a_command_leaves_behind_dies_with_it(bench):
    duration = f"1000.{os.getpid()}"
    bench.call("Bash", command=f"(setsid sh -c 'sh -c \"sleep {duration}\" &' &) ; sleep 0.2")
    assert not with_arguments("sleep", duration)


def test_the_death_of_the_kernel_is_that_of_the_command(bench):
    duration = f"1001.{os.getpid()}"
    script = f"""
        import json
        from claw_kernel._core import CancelToken, Core
        core = Core({str(bench.workspace)!r}, state_dir={str(bench.state)!r})
        core.set_policy(json.dumps({{"mode": "bypassPermissions"}}))
        core.run(core.prepare("Bash", json.dumps({{"command": "trap '' TERM HUP; setsid sleep {duration} & wait"}})), CancelToken())
    """
    kernel = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)])
    try:
        wait_until(lambda: with_arguments("sleep", duration))
    finally:
        kernel.send_signal(signal.SIGKILL)
        kernel.wait()
    wait_until(lambda: not with_arguments("sleep", duration))


@pytest.mark.parametrize(
    ("command", "code", "name"),
    [("exit 7", 7, None), ("kill -SEGV $$", None, "SIGSEGV"), ("kill -KILL $$", None, "SIGKILL")],
)
def test_the_end_is_told_as_it_was(bench, command, code, name):
    details = bench.call("Bash", command=command).details
    assert (details.get("exit_code"), details.get("signal")) == (code, name)


# --- limits ---


def test_bombs_end_within_their_limits(tmp_path):
    bench = Bench(tmp_path, limits={"memory_mb": 200, "file_mb": 5, "processes": 64, "cpu_seconds": 2})
    assert "MemoryError" in python(bench, "x = bytearray(400 << 20)").text
    assert bench.call("Bash", command="head -c 20000000 /dev/zero > big; stat -c %s big").text.split()[-1] == str(
        5 << 20
    )
    started = time.monotonic()
    assert bench.call("Bash", command="exec awk 'BEGIN { while (1) {} }'").details["signal"] in ("SIGXCPU", "SIGKILL")
    assert time.monotonic() - started < 30
    bomb = """
        import os, signal, time
        signal.alarm(20)
        count = 0
        try:
            while count < 2000:
                if os.fork() == 0:
                    time.sleep(30)
                    os._exit(0)
                count += 1
        except OSError as error:
            print("stopped", count, error.errno)
    """
    text = python(bench, bomb, timeout=60000).text
    if "stopped" not in text and os.geteuid() == 0:
        pytest.skip("root's processes are limited from Linux 6.14 on")
    assert int(text.split()[1]) < 400
    bench.core.close()


# --- the way out ---


def test_running_without_the_sandbox_always_asks(bench):
    bench.set_policy("default", allow=["Bash", "Bash(id)"])
    assert bench.prepare("Bash", command="id").decision == "allow"
    asked = bench.prepare("Bash", command="id", without_sandbox=True)
    assert (asked.decision, asked.suggested_rules) == ("ask", [])
    assert "without the sandbox" in asked.reason
    assert "outside the workspace cannot be undone" in asked.reason
    assert json.loads(asked.preview)["without_sandbox"] is True
    assert "WITHOUT" in asked.title
    bench.set_policy("dontAsk", allow=["Bash"])
    assert bench.prepare("Bash", command="id", without_sandbox=True).decision == "deny"
    bench.set_policy("bypassPermissions")
    target = bench.outside / "written"
    assert bench.call("Bash", command=f"touch {target}", without_sandbox=True).status == "ok"
    assert target.exists()


def test_what_undo_cannot_reach_is_said_in_the_result_and_before_the_undo(bench):
    bench.core.begin_turn("s1", "t1")
    both = f"echo x > inside; echo x > {bench.outside}/written"
    said = bench.call("Bash", command=both, without_sandbox=True).details["not_undoable"]
    assert "outside the workspace" in said
    preview = json.loads(bench.core.preview_restore(json.dumps({"kind": "undo"})))
    assert [file["path"] for file in preview["files"]] == ["inside"]
    assert "outside the workspace" in preview["calls"][0]["gap"]
    assert "not_undoable" not in bench.call("Bash", command="echo y > inside").details
    # A turn of which nothing can come back is not passed over: else its undo would take back the one before it.
    bench.core.begin_turn("s1", "t2")
    bench.call("Bash", command=f"echo y > {bench.outside}/written", without_sandbox=True)
    preview = json.loads(bench.core.preview_restore(json.dumps({"kind": "undo"})))
    assert preview["files"] == []
    assert [call["turn_id"] for call in preview["calls"]] == ["t2"]


def test_the_way_out_can_be_closed(tmp_path):
    bench = Bench(tmp_path, escalation="never")
    prepared = bench.prepare("Bash", command="id", without_sandbox=True)
    assert (prepared.decision, "sandbox.escalation" in prepared.reason) == ("deny", True)
    bench.core.close()


def test_a_failure_that_the_sandbox_explains_says_so(bench):
    text = bench.call("Bash", command="touch /usr/claw-was-here").text
    assert "[a command in the sandbox writes only in the workspace" in text
    assert "without_sandbox" in text
    assert "sandbox" not in bench.call("Bash", command="cat nothing-there").text


# --- real work ---


@pytest.mark.parametrize("name", ["with space", "ünïcode", "new\nline"])
def test_odd_workspaces_work(tmp_path, name):
    (tmp_path / name).mkdir()
    bench = Bench(tmp_path / name)
    assert bench.call("Bash", command="echo x > a; cat a").text == "x\n"
    bench.core.close()


def test_a_linked_workspace_works(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    core = Core(str(tmp_path / "link"), state_dir=str(tmp_path / "state"))
    core.close()
    assert core.workspace == str(tmp_path / "real")


@pytest.mark.parametrize(
    ("program", "command"),
    [
        (
            "python3",
            f'{sys.executable} -c \'import matplotlib; matplotlib.use("agg"); import matplotlib.pyplot as p; p.plot([1]); p.savefig("a.png")\' && ls a.png',
        ),
        ("pip", f"{sys.executable} -m pip list"),
        ("node", 'node -e \'require("fs").writeFileSync("x", "1")\' && cat x'),
        ("make", "printf 'a:\\n\\techo made > a\\n' > Makefile && make && cat a"),
        ("cc", "printf 'int main(){return 0;}' > a.c && cc -o a.out a.c && ./a.out"),
        ("multiprocessing", f"{sys.executable} -c 'import multiprocessing as m; print(m.Pool(2).map(abs, [-1]))'"),
    ],
)
def test_real_programs_work(bench, program, command):
    if program in ("node", "make", "cc") and not shutil.which(program):
        pytest.skip(f"no {program}")
    result = bench.call("Bash", command=command)
    assert result.status == "ok", result.text


def test_many_calls_leave_nothing(bench):
    bench.call("Bash", command="true")
    before = open_files()
    mounts = Path("/proc/self/mountinfo").read_text()
    state = sorted(bench.state.rglob("*"))
    for _ in range(1000):
        bench.call("Bash", command="true")
    # The last call's threads may still be closing what they hold; what leaks stays.
    until = time.monotonic() + 10
    while open_files() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert open_files() <= before
    assert sorted(bench.state.rglob("*")) == state
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert [child for child in children().values() if child.state == "Z"] == []


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="becomes another user")
def test_as_an_ordinary_user(tmp_path):
    become = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    if subprocess.run(
        [*become, sys.executable, "-c", "import claw_kernel._core"], cwd="/", capture_output=True
    ).returncode:
        pytest.skip("another user cannot run this Python")
    folder = Path(f"/var/tmp/claw-test-{os.getpid()}")
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    script = """
        import json, os
        from claw_kernel._core import CancelToken, Core
        os.mkdir("work")
        core = Core("work", state_dir="state")
        core.set_policy(json.dumps({"mode": "bypassPermissions"}))
        call = core.prepare("Bash", json.dumps({"command": "id -u; echo x > a && cat a; echo x > ../no; unshare -U true; ls /proc | grep -c '^[0-9]'"}))
        print(core.sandbox_report(), json.loads(core.run(call, CancelToken()).content)[0]["text"])
    """
    try:
        done = subprocess.run(
            [*become, sys.executable, "-c", textwrap.dedent(script)],
            cwd=folder,
            env={"HOME": str(folder), "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
        )
        assert '"missing":[]' in done.stdout, done.stdout + done.stderr
        assert "65534\nx\n" in done.stdout
        assert not (folder / "no").exists()
    finally:
        shutil.rmtree(folder)
