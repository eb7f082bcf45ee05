"""Who serves a model. ``open_provider`` is the one way in; adding a wire format is one file and one line in ``_OPENERS``,
adding a provider that speaks a known one is one line in ``known.py``.

A model is named ``provider/model`` (``anthropic/claude-sonnet-5``, ``ollama/qwen3``, ``scripted/tour.json``).
Nothing here imports an HTTP library before the first request is sent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Protocol, runtime_checkable
from urllib.parse import urlsplit

from claw_kernel.errors import AuthError, ModelNotFoundError, SettingsError
from claw_kernel.messages import Compaction, ModelRequest, ProviderEvent, ToolCall
from claw_kernel.providers.catalogue import resolve_alias
from claw_kernel.providers.known import DEFAULT_MODELS, KNOWN, LOCAL, KnownProvider
from claw_kernel.providers.settings import Api, ProviderSettings, Retries, Timeouts

if TYPE_CHECKING:
    from claw_kernel.providers._faults import Server
    from claw_kernel.providers._wire import WireFormat

__all__ = [
    "PlayedProvider",
    "Provider",
    "ProviderSettings",
    "Retries",
    "Timeouts",
    "default_model",
    "open_provider",
    "server_address",
]


class Provider(Protocol):
    """One way to reach models. Lives on the engine's event loop; one instance serves many sessions at once."""

    name: str
    """The part before the slash: ``anthropic``, ``openai``, ``ollama``, ``scripted`` …"""

    def stream(self, request: ModelRequest) -> AsyncIterator[ProviderEvent]:
        """Send ``request`` and yield its events; the last one is exactly one ``MessageFinished``.

        Retries (with ``ProviderNotice`` and, where deltas were already given, ``StreamRestarted``) happen inside.
        Raises a ``ProviderError`` when it gives up; every delta yielded before then must be forgotten by the caller.
        Closing the iterator (``aclose``) closes the connection at once. Text deltas are joined per network read.
        """
        ...

    async def aclose(self) -> None:
        """Close connections. The provider is not used afterwards."""
        ...


@runtime_checkable
class PlayedProvider(Provider, Protocol):
    """A provider that gives what was recorded (``recorded.py``): it is told where it is, says what was compacted, and some of its
    calls are refused."""

    def begin_turn(self, prompt: str, turn_id: str) -> None:
        """The next requests are those of a turn with this prompt, as it was typed; ``turn_id`` is the one it has now."""
        ...

    def compaction(self) -> Compaction | None:
        """What took effect before the request that comes next, in the ids of the turns as they are played."""
        ...

    def refusal(self, call: ToolCall) -> str:
        """Why the call is not to be run whatever the policy says; empty for most."""
        ...


def open_provider(model: str | None, settings: ProviderSettings) -> tuple[Provider, str]:
    """The provider of ``model`` (``provider/model``, or an alias) and the provider's own name for it. Sends nothing.

    With ``settings.base_url`` and ``settings.api`` the whole name is what that server calls its model (a leading ``local/`` or
    ``anthropic/`` is taken off); with ``base_url`` alone a known provider before the slash stays that provider, at the other address.
    Raises ModelNotFoundError for an unknown provider or script, AuthError where a key is missing or nothing can be used,
    SettingsError for a base URL that is none.
    """
    if not model:
        raise _nothing_found(settings)
    if not settings.base_url:
        model = resolve_alias(model, settings.aliases)
    provider, _, name = model.partition("/")
    if provider == "scripted":
        return _open_scripted(name, settings)
    if provider == "recorded":
        return _open_recorded(name, settings)
    server, name = find_server(model, settings)
    known = server.known
    api = settings.api or known.api
    if settings.api and known.name != "local" and not settings.base_url and api != known.api:
        is_openai = known.name == "openai" and api != "anthropic"
        if not is_openai:
            raise SettingsError(f"{known.name} does not speak {api}.", f"Leave --api out, or use {known.api}.")
    if not server.key and known.key_variables and not known.is_local and not settings.base_url and known is not LOCAL:
        raise AuthError(
            f"No key for {known.name}: {' and '.join(known.key_variables)} "
            f"{'is' if len(known.key_variables) == 1 else 'are'} not set.",
            f"Run `claw login {known.name}` in a terminal, or set {known.key_variables[0]}, then run this again (keys are made "
            f"at {known.keys_url}); or choose another model.",
        )
    from claw_kernel.providers._http import HttpProvider

    return HttpProvider(server, _OPENERS[api](server), settings), name


def find_server(model: str, settings: ProviderSettings) -> tuple[Server, str]:
    """Who is asked for ``provider/model``, and its name there. Raises as ``open_provider`` does, but not where a key is missing."""
    from claw_kernel.providers._faults import Server

    if not settings.base_url:
        model = resolve_alias(model, settings.aliases)
    known, name = _find_known(model, settings)
    if not name:
        raise ModelNotFoundError(
            f"{model!r} names no model.", f"Write it as {known.name}/<model>, with a model that {known.name} has."
        )
    variable, key = _find_key(known, settings)
    version = next((settings.env[v] for v in known.version_variables if settings.env.get(v)), known.version)
    return Server(known, server_address(known, settings), variable, key, settings.models, version), name


def server_address(known: KnownProvider, settings: ProviderSettings) -> str:
    """The base URL: the settings', else the provider's variable, else its own. Raises SettingsError where it is no URL."""
    given = settings.base_url or next((settings.env[v] for v in known.base_url_variables if settings.env.get(v)), "")
    if not given and not known.base_url and known.base_url_variables:
        raise SettingsError(
            f"{known.name}/ needs the address of its server.", f"Set {known.base_url_variables[0]}, or give --base-url."
        )
    if not given:
        return known.base_url
    if "://" not in given:  # OLLAMA_HOST is often a host with or without a port
        given = f"http://{given}" + ("" if ":" in given or not known.port else f":{known.port}")
    try:
        parts = urlsplit(given)
        parts.port  # noqa: B018 - raises where it is no number
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        from claw_kernel.settings import without_login

        raise SettingsError(
            f"The base URL {without_login(given)!r} is no web address.",
            "Write it as http://host:port or https://host/path.",
        )
    if parts.hostname == "0.0.0.0":  # noqa: S104 - where a server listens, which is no place to connect to
        parts = parts._replace(netloc=f"127.0.0.1:{parts.port}" if parts.port else "127.0.0.1")
    path = parts.path.rstrip("/")
    api = settings.api or known.api
    return parts._replace(
        path=path or ("" if api == "anthropic" or known.path else "/v1"), query="", fragment=""
    ).geturl()


async def default_model(settings: ProviderSettings) -> str:
    """``provider/model`` to use where nobody chose one: of the first provider whose key is set, else the first model that a
    server on this machine (or at ``settings.base_url``) lists. Takes at most 0.3 s. Raises AuthError where there is none.
    """
    from claw_kernel.providers.local import find_local_models

    if not settings.base_url:
        for provider, model in DEFAULT_MODELS:
            if _find_key(KNOWN[provider], settings)[1]:
                return f"{provider}/{model}"
    if found := await find_local_models(settings):
        return found[0]
    raise _nothing_found(settings)


def find_keys(settings: ProviderSettings) -> dict[str, str]:
    """The hosted providers that a key was given for, with the place it comes from (a variable, the file of ``claw login``). Raises
    AuthError where a value cannot be a key."""
    found = {known.name: _find_key(known, settings) for known in KNOWN.values() if not known.is_local}
    return {provider: place for provider, (place, key) in found.items() if key}


def _nothing_found(settings: ProviderSettings) -> AuthError:
    if settings.base_url:
        from claw_kernel.settings import without_login

        return AuthError(
            f"No model was chosen, and {without_login(settings.base_url)} lists none.",
            "Name one with --model or `%claw model`.",
        )
    if given := list(find_keys(settings)):
        return AuthError(
            f"No model was chosen; keys are set for {', '.join(given)}.",
            f"Choose one with `%claw model {given[0]}/<model>` or --model.",
        )
    return AuthError(
        "There is no model yet: no key is set, and no model server answers on this machine.",
        "Set ANTHROPIC_API_KEY or another provider's, or run `claw login anthropic` in a terminal, or start a server such as "
        "`ollama serve`, then run this again; `%claw model` and `claw doctor` list all ways, and scripted/hello needs none.",
    )


def _find_known(model: str, settings: ProviderSettings) -> tuple[KnownProvider, str]:
    provider, slash, name = model.partition("/")
    if settings.base_url:
        if slash and provider == "local":
            return LOCAL, name
        # Local servers name models like openai/gpt-oss-20b: with an API given, only the name of that API's owner is ours.
        if slash and provider in KNOWN and (not settings.api or provider == settings.api == "anthropic"):
            return KNOWN[provider], name
        return LOCAL, model
    if slash and provider in KNOWN:
        return KNOWN[provider], name
    if slash and provider == "local":
        if any(settings.env.get(variable) for variable in LOCAL.base_url_variables):
            return LOCAL, name
        raise SettingsError("local/ needs the address of the server.", "Give --base-url http://host:port.")
    names = [*KNOWN, "local", "scripted", "recorded"]
    import difflib

    near = difflib.get_close_matches(provider.lower(), names, 1, 0.5)
    if not slash:
        guess = _guess(model) or (near[0] if near and provider != near[0] else "")
        hint = f"Did you mean {guess}/{model}? " if _guess(model) else (f"Did you mean {guess}/…? " if guess else "")
        raise ModelNotFoundError(
            f"The model {model!r} has no provider.",
            f"{hint}Write provider/model; providers: {', '.join(names)}.",
        )
    hint = f"Did you mean {near[0]}/{name}? " if near else ""
    raise ModelNotFoundError(f"There is no provider {provider!r}.", f"{hint}Known: {', '.join(names)}.")


def _guess(model: str) -> str:
    prefixes = {"claude": "anthropic", "gpt-": "openai", "gemini": "gemini", "grok": "xai", "deepseek": "deepseek"}
    return next((provider for prefix, provider in prefixes.items() if model.startswith(prefix)), "")


def _find_key(known: KnownProvider, settings: ProviderSettings) -> tuple[str, str]:
    """Where the key comes from (its variable, else where ``claw login`` put it) and the key, empty where there is none. Raises
    AuthError where the value cannot be a key."""
    for variable in known.key_variables:
        key = settings.env.get(variable, "").strip()
        if key:
            if not key.isascii() or not key.isprintable() or " " in key:
                raise AuthError(f"{variable} holds characters that no key has.", f"Copy the key into {variable} again.")
            return variable, key
    if settings.home:
        from claw_kernel.credentials import find_key

        found = find_key(known.name, settings.home)
        if found is not None:
            if settings.when_key_read is not None:
                settings.when_key_read(found.key)
            return found.place, found.key
    return (known.key_variables[0] if known.key_variables else ""), ""


def _open_scripted(name: str, settings: ProviderSettings) -> tuple[Provider, str]:
    from claw_kernel.providers.scripted import ScriptedProvider, load_script

    script = load_script(name, settings.cwd)
    shown = name.rpartition("/")[2]
    return ScriptedProvider(script, shown if shown.endswith(".json") else f"{shown}.json"), name


def _open_recorded(name: str, settings: ProviderSettings) -> tuple[Provider, str]:
    from claw_kernel.providers.recorded import open_recorded

    return open_recorded(
        name, settings.cwd, home=settings.env.get("HOME", ""), is_accepting_edits=settings.is_accepting_edits
    )


def _open_anthropic(server: Server) -> WireFormat:
    from claw_kernel.providers.anthropic import AnthropicMessages

    return AnthropicMessages(server)


def _open_openai_chat(server: Server) -> WireFormat:
    from claw_kernel.providers.openai_chat import OpenAIChat

    return OpenAIChat(server)


def _open_openai_responses(server: Server) -> WireFormat:
    from claw_kernel.providers.openai_responses import OpenAIResponses

    return OpenAIResponses(server)


_OPENERS: dict[Api, Callable[[Server], WireFormat]] = {
    "anthropic": _open_anthropic,
    "openai-chat": _open_openai_chat,
    "openai-responses": _open_openai_responses,
}
