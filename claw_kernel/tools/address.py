"""Which servers a tool may talk to. What a host's spelling means and which addresses are public is the core's to say."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Collection

from claw_kernel import _core


class AddressRefusedError(Exception):
    """The host may not be talked to; ``str(error)`` is a sentence for the model."""


def read_host(name: str) -> str:
    """``name`` in its one spelling. Raises AddressRefusedError for what is no host."""
    try:
        return _core.check_host(name)
    except ValueError as error:
        raise AddressRefusedError(f"{name!r} is no proper host: {error}") from None


def check_host(name: str, granted: Collection[str]) -> str:
    """``name`` in its one spelling, before anything is asked or resolved. Raises AddressRefusedError. ``granted``: hosts
    of the user's own settings, in that spelling."""
    host = read_host(name)
    if host not in granted and (_is_local_name(host) or (is_address(host) and not _is_public(host))):
        raise AddressRefusedError(_refusal(host))
    return host


async def resolve(host: str, port: int, granted: Collection[str]) -> list[str]:
    """The addresses to connect to: every one of them was checked, so connect to exactly these. Raises AddressRefusedError
    where one is not public, and OSError where the name is unknown."""
    found = await asyncio.get_running_loop().getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(item[4][0]) for item in found))
    # One private address among public ones is how a rebinding attack looks: the whole name is refused.
    if host not in granted and not all(map(_is_public, addresses)):
        raise AddressRefusedError(_refusal(host))
    return addresses


def is_address(host: str) -> bool:
    """An address in the core's spelling, not a name."""
    return host.startswith("[") or host.replace(".", "").isdigit()


def _is_public(address: str) -> bool:
    return _core.is_public_address(address.strip("[]"))


def _is_local_name(host: str) -> bool:
    """Names that mean this machine or this network by convention, whatever a resolver says (RFC 6761, RFC 6762, ICANN's
    ``internal``)."""
    return (
        host == "localhost"
        or host.endswith((".localhost", ".local", ".internal"))
        or ("." not in host and not is_address(host))
    )


def _refusal(host: str) -> str:
    return (
        f"{host} is on this machine or a private network, which is not fetched from. "
        "The user can grant it in their own settings under web.allow_private_hosts."
    )
