"""The settings of tools: ``web`` and ``lsp``. Only the user's own file and managed ones may hold them: they name hosts,
keys and programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from claw_kernel.errors import SettingsError
from claw_kernel.late_dataclass import dataclass

if TYPE_CHECKING:
    from pydantic import BaseModel

_SEARCH_KEYS = {"brave": "BRAVE_API_KEY", "tavily": "TAVILY_API_KEY", "searxng": ""}


@dataclass(frozen=True)
class SearchSettings:
    """The engine behind WebSearch. ``url``: of a SearXNG server, or instead of the engine's own. ``key_name``: where the key
    was looked for."""

    engine: Literal["searxng", "brave", "tavily"]
    url: str | None = None
    key: str | None = field(default=None, repr=False)
    key_name: str = ""


@dataclass(frozen=True)
class LanguageServerSettings:
    """A language server: what starts it and the endings of the files it knows."""

    name: str
    command: tuple[str, ...]
    extensions: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the server is told when it asks for its configuration."""


def shapes() -> tuple[type[BaseModel], type[BaseModel]]:
    """What may stand under ``web``, and under a name in ``lsp``."""
    from pydantic import BaseModel, ConfigDict, Field

    class Search(BaseModel):
        model_config = ConfigDict(extra="forbid")
        engine: Literal["searxng", "brave", "tavily"]
        url: Annotated[str, Field(pattern=r"^https?://[^\s@]+$")] | None = None
        key: str | None = None

    class Web(BaseModel):
        model_config = ConfigDict(extra="forbid")
        allow_private_hosts: list[str] = []
        search: Search | None = None

    class LanguageServer(BaseModel):
        model_config = ConfigDict(extra="forbid")
        command: Annotated[list[str], Field(min_length=1)]
        extensions: Annotated[list[Annotated[str, Field(pattern=r"^\.[^/\s]+$")]], Field(min_length=1)]
        options: dict[str, Any] = {}

    # The annotations above are strings here; pydantic resolves them from this frame.
    for model in (Search, Web, LanguageServer):
        model.model_rebuild(_types_namespace={**globals(), **locals()})
    return Web, LanguageServer


def read_tool_settings(file: dict[str, Any], env: Mapping[str, str], source: str) -> dict[str, Any]:
    """``file`` with the fields that its ``web`` and ``lsp`` mean in their place. Raises SettingsError."""
    found = {name: value for name, value in file.items() if name not in {"web", "lsp"}}
    web = file.get("web", {})
    if hosts := web.get("allow_private_hosts"):
        found["private_hosts"] = tuple(hosts)
    if search := web.get("search"):
        engine, name = search["engine"], _SEARCH_KEYS[search["engine"]]
        key = search.get("key") or env.get(name)
        if engine == "searxng" and not search.get("url"):
            raise SettingsError(f"{source}: web.search: searxng needs the url of a server.", "Add its url.")
        if name and not key:
            raise SettingsError(f"{source}: web.search: {engine} needs a key.", f"Set {name} in the environment.")
        found["search"] = SearchSettings(engine, search.get("url"), key, name)
    if servers := file.get("lsp"):
        found["language_servers"] = tuple(
            LanguageServerSettings(name, tuple(item["command"]), tuple(item["extensions"]), item.get("options", {}))
            for name, item in servers.items()
        )
    return found
