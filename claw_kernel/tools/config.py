"""``Config``: reads the settings; of them the model may only lower what a turn may cost."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

from claw_kernel._core import ToolInputError, ToolOutput
from claw_kernel.messages import ToolSpec
from claw_kernel.tools.arguments import MaxLen, arguments, check_arguments, doc, schema_of
from claw_kernel.tools.registry import Intent, OnOutput, text_output

NAME = "Config"
LOWERABLE = (
    "max_turns",
    "max_cost_usd",
    "max_tokens",
    "max_seconds",
    "max_turn_tokens",
    "max_session_cost_usd",
    "max_session_seconds",
    "max_session_tokens",
    "max_session_turns",
    "max_notebook_cost_usd",
    "max_notebook_seconds",
    "max_notebook_tokens",
    "max_notebook_turns",
)
"""The settings that the model may lower. All others decide what it may do, who pays and who is asked."""


@arguments
class ConfigArguments:
    setting: Annotated[str, MaxLen(100), doc("Its name; empty: list all.")] = ""
    value: Annotated[float | None, doc(f"Set it; only to lower one of {', '.join(LOWERABLE)}.")] = None


class Configured(Protocol):
    """The session's settings, as the agent holds them."""

    def describe(self) -> list[tuple[str, str, str]]:
        """``(name, value, source)`` of each setting, without logins."""
        ...

    def limit(self, setting: str) -> float | None:
        """A limit's value; None: no limit."""
        ...

    def lower(self, setting: str, value: float) -> None:
        """Raises SettingsError for a value that makes no sense."""
        ...


class Config:
    spec = ToolSpec(
        NAME,
        "Read this session's settings, or lower one of its limits. Anything else the user sets.",
        schema_of(ConfigArguments),
        is_deferred=True,
    )

    def __init__(self, configured: Configured) -> None:
        self._configured = configured

    def intend(self, arguments: dict[str, Any]) -> Intent:
        asked = check_arguments(ConfigArguments, arguments, NAME)
        if asked.value is None:
            return Intent(f"Config {asked.setting}".rstrip(), (), {"kind": "none"}, is_read_only=True)
        if asked.setting not in LOWERABLE:
            raise ToolInputError(
                f"{NAME} cannot set {asked.setting or 'that'}: only the user may, with %claw config set. You may lower "
                f"{', '.join(LOWERABLE)}."
            )
        limit = self._configured.limit(asked.setting)
        if limit is not None and asked.value > limit:
            raise ToolInputError(f"{NAME} may only lower {asked.setting}; it is {limit:g}.")
        return Intent(f"Config {asked.setting} = {asked.value:g}", (), {"kind": "none"}, is_read_only=False)

    async def run(self, arguments: dict[str, Any], on_output: OnOutput) -> ToolOutput:  # noqa: ARG002
        from claw_kernel.errors import SettingsError

        asked = check_arguments(ConfigArguments, arguments, NAME)
        if asked.value is not None:
            try:
                self._configured.lower(asked.setting, asked.value)
            except SettingsError as error:
                return text_output(str(error), is_error=True)
            return text_output(f"{asked.setting} is {asked.value:g} from the next turn on.")
        rows = self._configured.describe()
        chosen = [row for row in rows if row[0] == asked.setting] if asked.setting else rows
        if not chosen:
            names = ", ".join(name for name, _, _ in rows)
            return text_output(f"There is no setting {asked.setting!r}; there are {names}.", is_error=True)
        return text_output("\n".join(f"{name} = {value} ({source})" for name, value, source in chosen))
