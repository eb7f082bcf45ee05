"""Which proxy the environment names for a host, by the usual variables (``https_proxy``, ``all_proxy``, ``no_proxy`` …)."""

from __future__ import annotations

from collections.abc import Mapping


def is_loopback(host: str | None) -> bool:
    """``host``: a name, or an address without brackets."""
    return host is not None and (host in {"localhost", "::1"} or host.startswith("127."))


def proxy_for(scheme: str, host: str, port: int | None, env: Mapping[str, str]) -> str | None:
    """The proxy's URL; None where the connection is to be direct, as it always is to this machine. ``host``: as in a URL;
    ``port``: where the URL names one. Lower case wins, and a proxy without a scheme is one of ``http``, as for curl."""
    from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # of POSIX; in the docs

    by_case = sorted(env.items(), key=lambda item: item[0].islower())
    named = {name.lower(): value for name, value in by_case if name.lower().endswith("_proxy")}
    proxy = named.get(f"{scheme}_proxy") or named.get("all_proxy")
    if not proxy or is_loopback(host.strip("[]")):
        return None
    spared = named.get("no_proxy")
    if spared and proxy_bypass_environment(f"{host}:{port}" if port else host, {"no": spared}):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"
