"""One settings file: read, validated, and taken apart into fields and permission rules. Who may set which of them is decided
in :mod:`claw_kernel.settings`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from claw_kernel.errors import SettingsError
from claw_kernel.settings_fields import FIELDS, Behavior, PermissionMode, Rule

if TYPE_CHECKING:
    from pydantic import BaseModel


def read_file(path: Path) -> tuple[dict[str, Any], tuple[Rule, ...]]:
    """Fields and rules of a settings file; nothing where there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}, ()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}.", "Mend or remove the file.") from error
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingsError(
            f"{path} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}.",
            "Mend or remove the file.",
        ) from error
    return read_permissions(validated(content, path), str(path))


def read_permissions(file: dict[str, Any], source: str) -> tuple[dict[str, Any], tuple[Rule, ...]]:
    """The permissions of a validated file as rules and a field of their own."""
    permissions = file.pop("permissions", {})
    rules = []
    for behavior in get_args(Behavior):
        for rule in permissions.get(behavior, ()):
            written = {"rule": rule} if isinstance(rule, str) else rule
            examples = (tuple(written.get(name, ())) for name in ("matches", "not_matches"))
            rules.append(Rule(behavior, written["rule"], source, *examples))
    if mode := permissions.get("mode"):
        file["permission_mode"] = mode
    rules.extend(Rule("allow", f"Network(domain:{host})", source) for host in file.get("sandbox", {}).pop("hosts", ()))
    return file, tuple(rules)


def validated(content: Any, path: Path) -> dict[str, Any]:
    from pydantic import ValidationError

    if not isinstance(content, dict):
        raise SettingsError(f"{path} does not hold a JSON object.", 'Write settings as {"model": "…"}.')
    try:
        return _file_model().model_validate(content).model_dump(exclude_none=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        known = _KNOWN.get(str(first["loc"][0]), []) if len(first["loc"]) > 1 else list(_file_model().model_fields)
        import difflib

        near = difflib.get_close_matches(str(first["loc"][-1]) if first["loc"] else "", known, 1)
        if first["type"] == "extra_forbidden":
            hint = (
                f"Did you mean {near[0]}?"
                if near
                else f"Known settings: {', '.join(known)}."
                if known
                else "Remove it."
            )
            raise SettingsError(f"{path}: unknown setting {where}.", hint) from None
        raise SettingsError(f"{path}: {where}: {first['msg']}.", "Mend or remove the setting.") from None


_KNOWN = {
    "permissions": ["mode", "allow", "ask", "deny"],
    "sandbox": ["mode", "writable", "hidden", "hosts", "devices", "limits", "escalation", "proxy", "no_proxy"],
    "web": ["allow_private_hosts", "search", "engine", "url", "key"],
    "lsp": ["command", "extensions", "options"],
}
"""What may stand inside a setting, for "did you mean"."""
_FILE_MODEL: type[BaseModel] | None = None


def _file_model() -> type[BaseModel]:
    """The shape of a settings file. Built on first use: pydantic costs 30 ms that most starts do not need."""
    global _FILE_MODEL  # noqa: PLW0603
    if _FILE_MODEL is None:
        from pydantic import BaseModel, ConfigDict, Field, create_model

        from claw_kernel.tool_settings import shapes

        Web, LanguageServer = shapes()  # noqa: N806 - classes

        class RuleWithExamples(BaseModel):
            model_config = ConfigDict(extra="forbid")
            rule: str
            matches: list[str] = []
            not_matches: list[str] = []

        class Permissions(BaseModel):
            model_config = ConfigDict(extra="forbid")
            mode: PermissionMode | None = None
            allow: list[str | RuleWithExamples] = []
            ask: list[str | RuleWithExamples] = []
            deny: list[str | RuleWithExamples] = []

        class SandboxLimits(BaseModel):
            model_config = ConfigDict(extra="forbid")
            memory_mb: Annotated[int, Field(ge=1)] | None = None
            file_mb: Annotated[int, Field(ge=0)] | None = None
            processes: Annotated[int, Field(ge=1)] | None = None
            cpu_seconds: Annotated[int, Field(ge=1)] | None = None

        class Sandbox(BaseModel):
            model_config = ConfigDict(extra="forbid")
            mode: Literal["on", "weaker-ok", "off"] | None = None
            writable: list[str] | None = None
            hidden: list[str] | None = None
            hosts: list[str] | None = None
            devices: list[str] | None = None
            limits: SandboxLimits | None = None
            escalation: Literal["ask", "never"] | None = None
            proxy: str | None = None
            no_proxy: str | None = None

        class ModelFacts(BaseModel):
            model_config = ConfigDict(extra="forbid")
            context_window: Annotated[int, Field(ge=1)] | None = None
            output_limit: Annotated[int, Field(ge=1)] | None = None
            has_images: bool | None = None
            has_thinking: bool | None = None
            has_tools: bool | None = None
            has_structured_output: bool | None = None

        class Nested(BaseModel):
            model_config = ConfigDict(extra="forbid")
            permissions: Permissions | None = None
            prices: dict[str, dict[str, float]] | None = None
            aliases: dict[str, Annotated[str, Field(pattern=r"^[^/\s]+/\S+$")]] | None = None
            models: dict[str, ModelFacts] | None = None
            sandbox: Sandbox | None = None
            normalise: tuple[str, ...] | None = None
            web: Web | None = None  # type: ignore[valid-type]  # made by shapes()
            lsp: dict[str, LanguageServer] | None = None  # type: ignore[valid-type]

        # The annotations above are strings here; pydantic resolves them from this frame.
        Sandbox.model_rebuild(_types_namespace={**globals(), **locals()})
        RuleWithExamples.model_rebuild(_types_namespace={**globals(), **locals()})
        Permissions.model_rebuild(_types_namespace={**globals(), **locals()})
        Nested.model_rebuild(_types_namespace={**globals(), **locals()})
        scalars: dict[str, Any] = {name: (one.kind | None, None) for name, one in FIELDS.items() if one.is_in_files}
        _FILE_MODEL = create_model("SettingsFile", __base__=Nested, **scalars)
    return _FILE_MODEL
