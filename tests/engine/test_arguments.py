"""The schema of a tool is read off its argument type without pydantic, and says what pydantic then checks."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import TypeAdapter

from claw_kernel._core import ToolInputError
from claw_kernel.tools.arguments import check_arguments, schema_of
from claw_kernel.tools.ask_user_question import AskUserQuestionArguments
from claw_kernel.tools.config import ConfigArguments
from claw_kernel.tools.enter_plan_mode import EnterPlanModeArguments
from claw_kernel.tools.exit_plan_mode import ExitPlanModeArguments
from claw_kernel.tools.inspect import InspectArguments
from claw_kernel.tools.lsp import LSPArguments
from claw_kernel.tools.python import PythonArguments
from claw_kernel.tools.repl import REPLArguments
from claw_kernel.tools.send_user_message import SendUserMessageArguments
from claw_kernel.tools.todo_write import TodoWriteArguments
from claw_kernel.tools.tool_search import ToolSearchArguments
from claw_kernel.tools.web_fetch import WebFetchArguments
from claw_kernel.tools.web_search import WebSearchArguments

ARGUMENTS = [
    AskUserQuestionArguments,
    ConfigArguments,
    EnterPlanModeArguments,
    ExitPlanModeArguments,
    InspectArguments,
    LSPArguments,
    PythonArguments,
    REPLArguments,
    SendUserMessageArguments,
    TodoWriteArguments,
    ToolSearchArguments,
    WebFetchArguments,
    WebSearchArguments,
]


def pydantic_schema(cls: Any) -> Any:
    """pydantic's own, in the compact form: references resolved, no titles, nulls, descriptions or empty defaults."""
    whole = TypeAdapter(cls).json_schema()

    def compact(value: Any, *, is_fields: bool = False) -> Any:
        if isinstance(value, list):
            return [compact(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return compact(whole["$defs"][value["$ref"].rpartition("/")[2]])
        if len(options := [item for item in value.get("anyOf", ()) if item != {"type": "null"}]) == 1:
            value = {**options[0], "default": None}
        if "const" in value:
            value = {key: item for key, item in value.items() if key != "const"} | {"enum": [value["const"]]}
        dropped = () if is_fields else ("title", "description", "$defs")
        return {
            key: compact(item, is_fields=key == "properties" and not is_fields)
            for key, item in value.items()
            if key not in dropped and not (key == "default" and not is_fields and not item)
        }

    return compact(whole)


def without_descriptions(value: Any, *, is_fields: bool = False) -> Any:
    if isinstance(value, list):
        return [without_descriptions(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: without_descriptions(item, is_fields=key == "properties" and not is_fields)
        for key, item in value.items()
        if is_fields or key != "description"
    }


@pytest.mark.parametrize("cls", ARGUMENTS, ids=lambda cls: cls.__name__)
def test_the_schema_says_what_is_checked(cls: Any) -> None:
    assert without_descriptions(schema_of(cls)) == pydantic_schema(cls)


def test_a_wrong_argument_is_named_with_what_is_taken() -> None:
    with pytest.raises(ToolInputError, match=r"TodoWrite: todos\.0\.status: .* TodoWrite takes: todos\."):
        check_arguments(TodoWriteArguments, {"todos": [{"content": "a", "status": "doing"}]}, "TodoWrite")
    with pytest.raises(ToolInputError, match="colour"):
        check_arguments(PythonArguments, {"code": "1", "colour": "red"}, "Python")
    with pytest.raises(ToolInputError, match="code"):
        check_arguments(PythonArguments, {}, "Python")


def test_a_headless_start_does_not_import_pydantic(tmp_path: Any) -> None:
    """It would take as long as the rest of the start."""
    code = (
        "import sys; from claw_kernel.agent import Agent; from claw_kernel.settings import load_settings; "
        f"a = Agent(load_settings({str(tmp_path)!r}, {{'CLAW_HOME': {str(tmp_path)!r}}})); a.tools.specs; "
        "print([name for name in ('pydantic', 'jsonschema') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
