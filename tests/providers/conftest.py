"""A provider of each wire format, talking to a real server on 127.0.0.1."""

import asyncio
from dataclasses import dataclass

import pytest

from claw_kernel.errors import ProviderError
from claw_kernel.messages import (
    Message,
    MessageFinished,
    ModelRequest,
    ProviderNotice,
    StreamRestarted,
    TextBlock,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
)
from claw_kernel.providers import ProviderSettings, Retries, Timeouts, open_provider
from tests.model_server import ModelServer

APIS = ("anthropic", "openai-chat", "openai-responses")
QUICK = Retries(first_seconds=0.01, longest_seconds=0.05)
USUAL = Timeouts()
HELLO = (Message("user", (TextBlock("Hello"),)),)


@pytest.fixture
def server():
    with ModelServer() as server:
        yield server


@pytest.fixture(params=APIS)
def api(request):
    return request.param


@dataclass
class Exchange:
    """What a stream gave."""

    events: list
    error: ProviderError | None = None

    @property
    def finished(self):
        assert self.error is None, self.error
        last = self.events[-1]
        assert isinstance(last, MessageFinished)
        assert sum(isinstance(event, MessageFinished) for event in self.events) == 1
        return last

    @property
    def content(self):
        return self.finished.message.content

    @property
    def shown(self):
        """Joined text, thinking and call fragments as a screen has them at the end: a restart forgets them."""
        text, thinking, calls = "", "", {}
        for event in self.events:
            if isinstance(event, TextDelta):
                text += event.text
            elif isinstance(event, ThinkingDelta):
                thinking += event.text
            elif isinstance(event, ToolCallDelta):
                name, arguments = calls.get(event.call_id, ("", ""))
                calls[event.call_id] = (name + event.name, arguments + event.arguments)
            elif isinstance(event, StreamRestarted):
                text, thinking, calls = "", "", {}
        return text, thinking, calls

    @property
    def notices(self):
        return [event.text for event in self.events if isinstance(event, ProviderNotice)]

    @property
    def restarts(self):
        return [event.reason for event in self.events if isinstance(event, StreamRestarted)]


async def collect(provider, request):
    events = []
    try:
        async for event in provider.stream(request):
            events.append(event)  # noqa: PERF401 - kept also where an error follows
    except ProviderError as error:
        return Exchange(events, error)
    return Exchange(events)


def ask_all(api, base_url, requests, *, retries=QUICK, timeouts=USUAL, env=None, model="m", ca_file=""):
    """Open a provider, send the requests one after the other and close it."""

    async def run():
        settings = ProviderSettings(env or {}, base_url, api, timeouts=timeouts, retries=retries, ca_file=ca_file)
        provider, name = open_provider(model, settings)
        try:
            return [
                await collect(provider, ModelRequest(name, **{"system": "Be brief.", **fields})) for fields in requests
            ]
        finally:
            await provider.aclose()

    return asyncio.run(run())


def ask(api, base_url, messages=HELLO, **options):
    return ask_all(api, base_url, [{"messages": messages}], **options)[0]
