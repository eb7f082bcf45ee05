"""Through the proxy that the environment names, which httpx knows how to ask. Imported where there is one."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Mapping

import httpx

from claw_kernel.providers._connection import AddressError, BrokenResponseError, ConnectTimeoutError, Response


class Proxied:
    """See ``Transport``."""

    def __init__(self, connect_seconds: float, context: ssl.SSLContext | None) -> None:
        # Silence on a stream is watched by the reader of the stream, which knows what it waits for.
        limits = httpx.Timeout(None, connect=connect_seconds)
        self._client = httpx.AsyncClient(timeout=limits, follow_redirects=False, verify=context or True)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        try:
            request = self._client.build_request("POST", url, headers=dict(headers), content=body)
            response = await self._client.send(request, stream=True)
        except httpx.ConnectTimeout as error:
            raise ConnectTimeoutError("no connection in time") from error
        except httpx.HTTPError as error:
            raise BrokenResponseError(str(error)) from error
        except httpx.InvalidURL as error:
            raise AddressError(str(error)) from error
        return Response(response.status_code, response.headers, _body(response), response.aclose)

    async def aclose(self) -> None:
        await self._client.aclose()


async def _body(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    try:
        async for part in response.aiter_raw():
            yield part
    except httpx.HTTPError as error:
        raise BrokenResponseError(str(error)) from error
