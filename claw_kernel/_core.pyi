"""The typed face of the Rust crate: the gate ``prepare · run · finish`` that every tool call passes.

``Core`` is thread-safe and holds no Python objects. ``run`` blocks with the interpreter released: call it in a thread.
JSON crosses as text in both directions. Python tools pass the same ``prepare`` and ``finish``; only ``run`` is theirs.
"""

import os
from collections.abc import Callable
from typing import Literal, final

__version__: str

class ToolInputError(ValueError):
    """The model's call cannot be understood (unknown tool, arguments that do not fit). ``str(error)`` is for the model
    and says what to do next."""

class RuleError(ValueError):
    """A permission rule or policy that cannot be read; ``str(error)`` is for the person."""

class RestoreError(ValueError):
    """Files that cannot be put back, and were not touched; ``str(error)`` is for the person and says what to do."""

@final
class CancelToken:
    """A flag one side sets and the other watches. Cancelling twice does nothing more."""
    def __init__(self) -> None: ...
    def cancel(self) -> None: ...
    @property
    def is_cancelled(self) -> bool: ...

@final
class Prepared:
    """A validated call with the policy's verdict; passed on to ``run`` and ``finish``.

    ``preview`` is a JSON object, one of
    ``{"kind": "command", "command": str, "visible": str, "cwd": str}`` (``visible``: hidden characters escaped; with
    ``"description"`` where the model gave one),
    ``{"kind": "diff", "path": str, "diff": str, "is_new": bool}`` (unified diff, capped),
    ``{"kind": "code", "code": str, "visible": str}``, ``{"kind": "path", "path": str}`` or ``{"kind": "none"}``. Tools of
    Python that talk to the person also have ``{"kind": "todos", "todos": [{"content", "status"}]}``,
    ``{"kind": "message", "text": str}``, ``{"kind": "plan", "plan": str}`` (Markdown) and ``{"kind": "questions",
    "questions": [{"question", "header", "options": [{"label", "description"}], "multiSelect"}]}``.
    ``effects`` is a JSON list of ``{"effect": "read_path"|"write_path", "path": str}``,
    ``{"effect": "run", "command": str}``, ``{"effect": "start", "argv": [str]}`` (a program of the tool's choice, no shell), ``{"effect": "fetch", "host": str}``, ``{"effect": "namespace"}`` (runs code in
    the user's namespace), ``{"effect": "inspect", "name": str}``, ``{"effect": "mcp", "tool": str}``.
    """
    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def is_read_only(self) -> bool: ...
    @property
    def decision(self) -> Literal["allow", "ask", "deny"]: ...
    @property
    def reason(self) -> str: ...
    @property
    def rule(self) -> str: ...
    @property
    def rule_source(self) -> str: ...
    @property
    def suggested_rules(self) -> list[str]: ...
    @property
    def effects(self) -> str: ...
    @property
    def preview(self) -> str: ...

@final
class ToolOutput:
    """What a tool gave. ``content`` is a JSON list of ``{"type":"text","text"}`` and
    ``{"type":"image","media_type","data"}``; ``details`` a JSON object for the screen and the record."""
    def __init__(
        self,
        content: str,
        status: Literal["ok", "error", "cancelled", "timed_out"] = "ok",
        details: str = "{}",
    ) -> None: ...
    @property
    def content(self) -> str: ...
    @property
    def status(self) -> Literal["ok", "error", "cancelled", "timed_out"]: ...
    @property
    def is_error(self) -> bool: ...
    @property
    def details(self) -> str: ...

@final
class Process:
    """A process that ``Core.spawn`` started. Methods may be called from several threads and release the interpreter;
    timeouts are in seconds, None waits without limit. It is killed, with all it has started, by ``kill``, by ``Core.close``,
    and when nobody holds this object any more."""
    @property
    def pid(self) -> int: ...
    def write(self, content: bytes) -> None:
        """Write all of it. Raises BrokenPipeError where the process has ended or its input was closed."""
    def close_input(self) -> None: ...
    def read_output(self, size: int = 65536, timeout: float | None = None) -> bytes | None:
        """Up to ``size`` bytes (at most 1 MiB) as soon as there are any; ``b""`` at the end; None: nothing within ``timeout``."""
    def read_error(self, size: int = 65536, timeout: float | None = None) -> bytes | None:
        """The same for standard error; at once ``b""`` where it was merged into the output."""
    def wait(self, timeout: float | None = None) -> int | None:
        """The exit code, below zero the number of the signal that ended it; None: it still runs."""
    def kill(self) -> None: ...

@final
class Core:
    def __init__(
        self,
        workspace: str,
        *,
        extra_roots: list[str] = ...,
        state_dir: str = ...,
        session_id: str = ...,
        programs: str = ...,
        sandbox: str = ...,
    ) -> None:
        """``workspace`` and ``extra_roots`` are directories that file tools may touch; ``state_dir`` takes the audit log
        and spilled outputs (readable by the model, never writable), by default ``$XDG_STATE_HOME/claw`` or
        ``~/.local/state/claw``. ``programs``: a directory put first in the PATH of commands.
        ``sandbox``: JSON object ``{"mode": "on"|"weaker-ok"|"off", "writable": [path], "hidden": [path], "devices": [path],
        "limits": {"memory_mb", "file_mb", "processes", "cpu_seconds"}, "escalation": "ask"|"never", "home": path}``, all
        optional; without it commands run in the whole sandbox. Raises OSError where a root is no directory."""
    @property
    def workspace(self) -> str: ...
    @staticmethod
    def specs() -> str:
        """JSON list of ``{"name", "description", "input_schema", "is_read_only", "is_deferred", "aliases": [str], "effects": [str],
        "limits": [{"what": str, "amount": int, "unit": "bytes"|"seconds"|""}]}`` of the Rust tools. A call with an effect
        that its tool does not declare is refused."""
    def set_policy(self, policy: str) -> None:
        """Replace mode and rules: ``{"mode": "default"|"acceptEdits"|"plan"|"dontAsk"|"bypassPermissions",
        "rules": [{"behavior": "allow"|"ask"|"deny", "rule": str, "source": str, "matches": [str], "not_matches": [str]}]}``
        (the last three may be left out; the examples are checked, not kept). Raises RuleError naming the rule
        and its source; the old policy then stays in force.

        A bare ``Bash`` or ``Bash(*)`` allows every command line, also those that cannot be read; critical removals and
        protected places are asked all the same."""
    def add_rule(self, behavior: Literal["allow", "ask", "deny"], rule: str, source: str) -> None:
        """Raises RuleError."""
    def policy(self) -> str:
        """The policy in force, in the form ``set_policy`` takes."""
    def denies_tool(self, name: str) -> bool:
        """True where a deny rule names the whole tool (``Bash``, ``mcp__server``, ``*``): the model is not shown it."""
    def network_objection(self, host: str) -> str | None:
        """Why sandboxed commands may not talk to ``host`` (``name`` for port 443, or ``name:port``), and which rule would
        allow it; None: a rule ``Network(domain:…)`` grants it. Raises RuleError where ``host`` is none."""
    def set_notebook(self, path: str | None) -> None:
        """The notebook file this session lives in. While it is set, Write, Edit and NotebookEdit refuse to change it: it is
        open in an editor, and one of the two changes would be lost."""
    def add_secret(self, value: str) -> None:
        """A value that must never reach the model, the audit log or a record. Under 8 bytes it is ignored."""
    def redact(self, text: str) -> str:
        """``text`` with every secret replaced by ``[secret]``, also where it stands base64-, URL- or JSON-escaped."""
    def prepare(self, name: str, arguments: str, effects: str | None = None, preview: str | None = None) -> Prepared:
        """Validate, compute effects, decide. ``effects`` (and ``preview``) are given for Python tools only, whose
        arguments Python has validated. Raises ToolInputError.

        A Write or Edit that cannot succeed as things are (file not read yet, text not found) is not asked for: its decision
        is ``allow`` with that reason, and ``run`` gives the error without touching the file, whatever changed meanwhile.
        Prepare such a call after the ones before it have run."""
    def run(
        self,
        prepared: Prepared,
        cancel: CancelToken,
        on_output: Callable[[str], None] | None = None,
        call_id: str = "",
    ) -> ToolOutput:
        """Run a Rust tool. Never raises for a tool's failure; a denied call gives its reason and does nothing.
        ``on_output`` is called from this thread with redacted text, at most every 50 ms and with at most 16 KiB. Bash's
        ``details``: ``exit_code`` or ``signal``, ``output_bytes``, ``spill_path``; Write's and Edit's: ``diff``, ``path``.
        A call that can write is checkpointed around its run, under ``call_id``: ``finish`` then adds to ``details``
        ``checkpoint`` (``{"id": "c7", "changed": paths}``) and ``not_undoable`` (what could not be saved, a text)."""
    def begin_turn(self, session_id: str, turn_id: str) -> None:
        """Checkpoints of the calls to come belong to this turn, and are kept under this session's id."""
    def set_checkpoint_limits(self, limits: str) -> None:
        """``{"megabytes": int, "seconds": float}``: contents kept for one session (0: no checkpoints), and time for saving
        before one call. By default 512 and 3. Raises ValueError."""
    def begin_checkpoint(self, prepared: Prepared, call_id: str) -> None:
        """For a Python tool, before it runs: save what the call may write. Blocks for as long as the limits allow. Does
        nothing for a call whose effects write no files; never raises."""
    def end_checkpoint(self, prepared: Prepared) -> None:
        """After it ran, well or not: note what it changed."""
    def checkpoints(self) -> str:
        """JSON list of the session's checkpoints, oldest first: ``{"id": "c7", "at", "turn_id", "call_id", "tool", "title",
        "paths": [str], "not_saved": [{"path", "reason", "size"}], "restored_to": int | null, "git", "is_interrupted",
        "gap"}``. ``restored_to``: it is a restore, to how it was before the checkpoint of that number. ``git``: null, or
        ``{"before": [head, commit], "after": …, "is_index_changed"}``. Raises OSError."""
    def is_session_shared(self) -> bool:
        """True where another process, such as a notebook's kernel, has the session's checkpoints open. Raises OSError."""
    def checkpoint_sessions(self) -> list[str]:
        """Ids of the sessions that have checkpoints of this workspace, the one used last first."""
    def preview_restore(self, target: str) -> str:
        """What a restore to ``target`` would do. ``target`` is ``{"kind": "undo", "count": int | null}`` (the last turns in
        effect; null: the last one, or the last restore where nothing came after it), ``{"kind": "turns", "ids": [str]}``
        (before the first of these that changed files) or ``{"kind": "checkpoint", "number": int}`` (before that call).

        Gives ``{"restored_to": int, "is_redo": bool, "calls": [as checkpoints()], "conflicts": int, "files": [{"path",
        "action": "create"|"change"|"replace"|"delete"|"move"|"mode"|"touch", "kind": "file"|"link"|"folder", "added": int | null,
        "removed": int | null, "moved_from": str | null, "is_conflict": bool, "is_final": bool}], "not_restored": [{"path",
        "action": "lost"|"left", "reason", "size"}]}``. ``is_conflict``: edited since by someone else. ``is_final``: what is
        there now could not be saved, so redo does not bring it back. Raises RestoreError."""
    def restore(self, target: str, *, force: bool = False) -> str:
        """Put files back; itself a checkpoint. Gives what ``preview_restore`` gives, with ``"id"`` and ``"failures": [{"path",
        "reason"}]``. Without ``force`` nothing is done where there are conflicts. Raises RestoreError."""
    def finish(self, prepared: Prepared, output: ToolOutput, answer: str = "") -> ToolOutput:
        """Cap and spill, redact, write the audit entry. ``answer``: who allowed it (``widget:allow_once``), if asked."""
    def spawn(
        self,
        prepared: Prepared,
        argv: list[str],
        *,
        cwd: str = "",
        environment: dict[str, str] | None = None,
        merge_output: bool = False,
    ) -> Process:
        """Start a process for a call of a Python tool, confined as that call is. ``argv[0]``: a full path, or a name looked up on
        the commands' PATH outside the workspace. ``cwd``: a folder in the workspace (default: the workspace itself).
        ``environment``: added to the scrubbed variables every command gets. Raises FileNotFoundError for a program that
        is not there, PermissionError for a denied call, OSError where it cannot be started."""
    def jobs(self) -> str:
        """JSON list of the commands started in the background, oldest first: ``{"id", "command", "status", "is_running",
        "pid", "path"}``; ``status`` in words, ``path`` the file with what it has printed."""
    def run_confined(self, argv: list[str], cwd: str) -> int:
        """Run a person's own command in the sandbox, with this process's input and output. Its exit code; below zero the
        number of the signal that ended it. Raises FileNotFoundError, OSError."""
    def sandbox_report(self) -> str:
        """JSON ``{"missing": [sentence], "landlock": version, "namespaces": bool, "seccomp": bool}``: what this machine gives
        of the sandbox; nothing missing: all of it. The machine is looked at once per process."""
    def close(self) -> None:
        """Cancel what runs and kill every process its commands have left behind. Whole outputs stay for a week."""

def visible(text: str) -> str:
    """``text`` with control, bidirectional, zero-width and look-alike space characters written as escapes."""

def folder_identity(path: str) -> tuple[str, int, int]:
    """Canonical path, inode and time of creation (nanoseconds since 1970; 0 where the file system does not keep it) of a
    folder. Raises OSError where there is none."""

def copy_content(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """The bytes of one file into another, which is created or emptied; where the file system can, they share their blocks. Raises
    OSError."""

def check_host(name: str) -> str:
    """``name`` (a host without port) in its one spelling: a lower-case name, or an address however it was written
    (``0x7f.1`` is ``127.0.0.1``; IPv6 in brackets). Raises ValueError where it is neither."""

def is_public_address(address: str) -> bool:
    """True for an address of the public Internet; False for private, loopback, link-local, metadata, multicast and reserved
    ones, in every spelling, and for what is no address."""

def canonical_tool_name(name: str) -> str:
    """The tool's own name for any of its names (``read_file`` is Read, ``web-fetch`` is WebFetch); else ``name`` itself.
    The table, also for tools of Python, is ``rust_core/src/catalogue.rs``; calls and rules go by it."""

def tool_aliases(name: str) -> list[str]:
    """The other names of a tool."""

def fit_arguments(tool: str, schema: str, arguments: str) -> str:
    """The JSON object ``arguments`` made to fit ``schema`` where that is sure: usual other names of arguments (``cmd`` of Bash)
    replaced by the tool's own, numbers, truth values and lists that were written as text read. For Python tools whose arguments
    do not fit; the core does it for its own."""

class Secrets:
    """Secrets by value, without a session: for files that were written before."""

    def __init__(self, values: list[str]) -> None:
        """Values shorter than 8 bytes are left out."""

    def redact(self, text: str) -> str:
        """As ``Core.redact``."""

def make_signing_key(comment: str) -> tuple[str, str]:
    """A new ed25519 key without a passphrase: private half in OpenSSH's format, and the line of the public half."""

def sign_message(private_key: str, namespace: str, message: bytes) -> tuple[str, str]:
    """Signature of ``message`` in the format of ``ssh-keygen -Y sign`` (PEM), and the public key (``ssh-ed25519 …``).
    ``private_key``: the text of an OpenSSH key file. Raises ValueError where that is no ed25519 key or has a passphrase."""

def signer_of(signature: str, namespace: str, message: bytes) -> str:
    """The public key (``ssh-ed25519 …``) whose owner made ``signature`` of ``message``. Raises ValueError where nobody did."""
