"""The tools that reach beyond the workspace and the namespace, made from the settings."""

from __future__ import annotations

from claw_kernel._core import Core
from claw_kernel.errors import SettingsError
from claw_kernel.settings import Settings
from claw_kernel.tools import DeferredTool, PythonTool


def outside_tools(core: Core, settings: Settings) -> tuple[PythonTool | DeferredTool, ...]:
    """The web, an interpreter, language servers. Raises SettingsError for a granted host that is none."""
    from claw_kernel.tools.address import AddressRefusedError, read_host
    from claw_kernel.tools.download import Network
    from claw_kernel.tools.web_fetch import WebFetch

    def web_search() -> PythonTool:
        from claw_kernel.tools.web_search import WebSearch

        return WebSearch(settings.search)

    def repl() -> PythonTool:
        from claw_kernel.tools.repl import REPL

        return REPL(core)

    def lsp() -> PythonTool:
        from claw_kernel.tools.lsp import LSP

        return LSP(core, settings.language_servers, settings.env)

    try:
        private_hosts = frozenset(map(read_host, settings.private_hosts))
    except AddressRefusedError as error:
        raise SettingsError(f"web.allow_private_hosts: {error}", "Mend or remove it.") from None
    return (
        WebFetch(core, Network(settings.env, private_hosts)),
        DeferredTool("WebSearch", web_search),
        DeferredTool("REPL", repl),
        DeferredTool("LSP", lsp),
    )
