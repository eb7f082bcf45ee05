"""``%load_ext claw_magics``: ``%%claw`` cells and the ``%claw`` command in a Python notebook.

Importing this package does no work; loading the extension imports no HTTP, MCP or Jupyter server module. The agent is
made by the first cell that needs it.
"""

from __future__ import annotations

from typing import Any


def load_ipython_extension(ip: Any) -> None:
    """Called by ``%load_ext``. Prints nothing; loading twice does nothing more."""
    if getattr(ip, "claw_host", None) is not None:
        return
    from claw_magics import matcher, transform
    from claw_magics.host import Host

    host = Host(ip)
    ip.claw_host = host
    transform.install(ip, host)
    matcher.install(ip, host)

    def claw(line: str, cell: str | None = None) -> None:
        """Ask the agent, or run one of its commands.

        A cell that begins with %%claw is a request to the agent:

            %%claw --max-cost 0.50
            Why does {df} have fewer rows after the merge in @prepare.py?

        {df} attaches a description of the variable, @prepare.py the file. %%claw --help lists the options, %claw help the
        commands (%claw status, %claw model, %claw undo …).
        """
        if cell is None:
            host.run_command(line)
        else:
            host.run_cell_blocking(line, cell)

    ip.register_magic_function(claw, magic_kind="line_cell", magic_name="claw")
    if host.kernel is not None:
        host.connect()


def unload_ipython_extension(ip: Any) -> None:
    """Called by ``%unload_ext``: takes back everything and stops what runs."""
    host = getattr(ip, "claw_host", None)
    if host is None:
        return
    from claw_magics import matcher, transform

    matcher.uninstall(ip)
    transform.uninstall(ip)
    for kind in ("line", "cell"):
        ip.magics_manager.magics[kind].pop("claw", None)
    host.close()
    del ip.claw_host
