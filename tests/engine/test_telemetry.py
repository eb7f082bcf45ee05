"""Telemetry: off and unseen unless asked for; then the conventions' spans and metrics, with content only where asked."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from claw_kernel.messages import ApprovalRequested, ToolStarted
from claw_kernel.settings import load_settings
from claw_kernel.telemetry import LONGEST_TEXT, MISSING
from tests.engine.conftest import play
from tests.model_server import ModelServer, Response, anthropic_frames, text, tool_call

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

SECRET = "s3cr3t-value-of-a-key"


@pytest.fixture(scope="module")
def exporter():
    """The SDK's own, set up once, as a program that wants telemetry does."""
    made = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(made))
    trace.set_tracer_provider(provider)
    return made


@pytest.fixture(scope="module")
def reader():
    made = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([made]))
    return made


@pytest.fixture
def spans(exporter):
    """The finished spans so far, in the order they began."""
    exporter.clear()
    return lambda: sorted(exporter.get_finished_spans(), key=lambda span: span.start_time)


@pytest.fixture
def server():
    with ModelServer() as server:
        yield server


def agent_of(make_agent, server, **options):
    options = {"telemetry": True, "permission_mode": "bypassPermissions", **options}
    agent = make_agent([], env={"ANTHROPIC_API_KEY": SECRET}, base_url=server.base_url, **options)
    agent.set_model("anthropic/claude-test")
    return agent


def test_a_turn_is_one_tree_of_spans(make_agent, server, spans):
    calls = [tool_call("c1", "Bash", {"command": "echo one"}), tool_call("c2", "Read", {"file_path": "none.txt"})]
    server.answer(anthropic_frames([text("I look."), *calls]), anthropic_frames([text("Done.")]))
    agent = agent_of(make_agent, server)
    with trace.get_tracer("a notebook").start_as_current_span("cell") as cell:
        record = play(agent.start("go"))[-1].record

    found = {span.name: span for span in spans()}
    assert [span.name for span in spans() if span.name != "cell"] == [
        "invoke_agent claw",
        "chat claude-test",
        "execute_tool Bash",
        "execute_tool Read",
        "chat claude-test",
    ]
    turn = found["invoke_agent claw"]
    assert turn.parent.span_id == cell.get_span_context().span_id
    assert all(span.parent.span_id == turn.context.span_id for span in spans() if span.name not in ("cell", turn.name))
    assert dict(turn.attributes) == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-test",
        "gen_ai.agent.name": "claw",
        "gen_ai.agent.version": turn.attributes["gen_ai.agent.version"],
        "gen_ai.conversation.id": record.session_id,
        "gen_ai.response.finish_reasons": ("end_turn",),
        "gen_ai.usage.input_tokens": 2 * (10 + 5 + 3),
        "gen_ai.usage.output_tokens": 40,
        "gen_ai.usage.cache_read.input_tokens": 10,
        "gen_ai.usage.cache_creation.input_tokens": 6,
        "claw.turn.id": record.turn_id,
    }
    chat = next(span for span in spans() if span.name.startswith("chat"))
    assert chat.kind is trace.SpanKind.CLIENT
    assert chat.attributes["gen_ai.response.model"] == "claude-test"
    assert chat.attributes["gen_ai.response.finish_reasons"] == ("tool_use",)
    assert chat.attributes["gen_ai.usage.input_tokens"] == 18
    tool = found["execute_tool Bash"]
    assert tool.attributes["gen_ai.tool.call.id"] == "c1"
    assert tool.status.is_ok
    failed = found["execute_tool Read"]
    assert not failed.status.is_ok
    assert failed.attributes["error.type"]


def test_nothing_that_was_said_unless_it_is_asked_for(make_agent, server, spans):
    server.answer(
        anthropic_frames([tool_call("c1", "Bash", {"command": "echo quiet"})]), anthropic_frames([text("shy")])
    )
    play(agent_of(make_agent, server).start("the prompt"))
    written = "".join(span.to_json() for span in spans())
    assert not [word for word in ("quiet", "shy", "the prompt") if word in written]


@pytest.mark.parametrize("has_content", [False, True])
def test_a_server_that_quotes_what_was_said(make_agent, server, spans, *, has_content):
    """In what is tried again, in what broke off, and in what ends the turn."""
    quoting = b'{"error":{"type":"%s","message":"cannot read: shy words"}}'
    begun = anthropic_frames([tool_call("c1", "Bash", {"command": "true"}), text("More.")])[:-4]
    server.answer(
        Response(500, {"content-type": "application/json"}, [quoting % b"api_error"]),
        [*begun, b'event: error\ndata: {"type":"error",%s\n\n' % (quoting % b"api_error")[1:]],
        Response(400, {"content-type": "application/json"}, [quoting % b"invalid_request_error"]),
    )
    record = play(agent_of(make_agent, server, telemetry_content=has_content).start("go"))[-1].record
    assert "shy words" in record.error.message
    assert [("shy words" in span.to_json()) for span in spans()] == [has_content, has_content, False, False]
    assert [event.name for event in spans()[1].events] == ["claw.retry"]


def test_content_is_redacted_and_capped(make_agent, server, spans):
    command = f"echo {SECRET}; printf %030000d 7"
    server.answer(anthropic_frames([tool_call("c1", "Bash", {"command": command})]), anthropic_frames([text("Done.")]))
    play(agent_of(make_agent, server, telemetry_content=True).start(f"use {SECRET} please"))
    found = {span.name: span.attributes for span in spans()}
    written = "".join(span.to_json() for span in spans())
    assert SECRET not in written
    turn, tool = found["invoke_agent claw"], found["execute_tool Bash"]
    (said,) = json.loads(turn["gen_ai.input.messages"])
    assert said["role"] == "user"
    assert "please" in said["parts"][0]["content"]
    assert json.loads(turn["gen_ai.output.messages"])[0]["parts"] == [{"type": "text", "content": "Done."}]
    assert "printf" in tool["gen_ai.tool.call.arguments"]
    assert LONGEST_TEXT < len(tool["gen_ai.tool.call.result"]) < LONGEST_TEXT + 100


def test_what_was_refused_failed_or_broken_off_says_so(make_agent, server, spans):
    """A denied call, a retry, an error that ends the turn, an interrupted call; each span is ended."""
    server.answer(
        Response(529, {"content-type": "application/json"}, [b'{"error":{"message":"busy"}}']),
        anthropic_frames([tool_call("c1", "Bash", {"command": "touch x"})]),
        Response(400, {"content-type": "application/json"}, [b'{"error":{"message":"no"}}']),
    )
    record = play(agent_of(make_agent, server, permission_mode="default").start("go"))[-1].record
    assert record.error.kind == "invalid_request"
    chat, denied, failed = spans()[1:]
    assert [event.name for event in chat.events] == ["claw.retry"]
    assert denied.attributes["error.type"] == "denied"
    assert failed.attributes["error.type"] == "invalid_request"
    assert spans()[0].status.description is None

    server.answer(anthropic_frames([tool_call("c2", "Bash", {"command": "sleep 30"})]))
    turn = agent_of(make_agent, server).start("wait")
    play(turn, lambda event: turn.cancel() if isinstance(event, ToolStarted) else None)
    assert spans()[-1].name == "execute_tool Bash"
    assert spans()[-1].attributes["error.type"] in {"cancelled", "interrupted"}
    assert [span.name for span in spans()].count("invoke_agent claw") == 2


def test_metrics(make_agent, server, reader):
    server.answer(anthropic_frames([text("Done.")]))
    play(agent_of(make_agent, server).start("go"))
    found = {
        metric.name: metric
        for resource in reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert set(found) == {
        "gen_ai.client.token.usage",
        "gen_ai.client.operation.duration",
        "gen_ai.client.operation.time_to_first_chunk",
    }
    counts = {p.attributes["gen_ai.token.type"]: p.sum for p in found["gen_ai.client.token.usage"].data.data_points}
    assert counts == {"input": 18, "output": 20}
    (duration,) = found["gen_ai.client.operation.duration"].data.data_points
    assert duration.attributes["gen_ai.request.model"] == "claude-test"
    assert duration.sum > 0


def test_a_question_to_a_person_is_no_part_of_it(make_agent, server, spans):
    """Waiting for an answer is not the call's own time: its span begins when it runs."""
    server.answer(anthropic_frames([tool_call("c1", "Bash", {"command": "true"})]), anthropic_frames([text("Done.")]))
    agent = agent_of(make_agent, server, permission_mode="default")
    turn = agent.start("go", ways=["stdin"])

    def answer(event):
        if isinstance(event, ApprovalRequested):
            assert not [span for span in spans() if span.name.startswith("execute_tool")]
            agent.gate.resolve(event.request.request_id, "allow_once", "stdin")

    play(turn, answer)
    assert [span.name for span in spans()][2] == "execute_tool Bash"


PROGRAM = """
import sys
{before}
from claw_kernel.agent import Agent
from claw_kernel.settings import load_settings
home = sys.argv[1]
settings = load_settings(home, {{"CLAW_HOME": home, "PATH": "/usr/bin:/bin"}}).with_options(
    "test", model="scripted/hello", telemetry={on})
turn = Agent(settings).start("hello")
for batch in turn.batches_blocking():
    pass
assert turn.record.stop_reason == "end_turn", turn.record
print([name for name in sys.modules if name.startswith("opentelemetry")][:1], turn.record.notices)
"""


def run(tmp_path, *, on, before=""):
    program = PROGRAM.format(before=before, on=on)
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_off_imports_nothing(tmp_path):
    assert run(tmp_path, on=False).startswith("[] ")


def test_on_without_the_package_says_so_and_goes_on(tmp_path):
    assert MISSING.split("'")[0] in run(tmp_path, on=True, before="sys.modules['opentelemetry'] = None")


def test_a_project_cannot_switch_it_on(tmp_path):
    (tmp_path / ".claw").mkdir()
    (tmp_path / ".claw" / "settings.json").write_text('{"telemetry": true, "telemetry_content": true}')
    settings = load_settings(str(tmp_path), {"CLAW_HOME": str(tmp_path / "home")})
    assert (settings.telemetry, settings.telemetry_content) == (False, False)
    assert "telemetry, telemetry_content ignored" in " ".join(settings.notices)


@pytest.mark.parametrize(("value", "is_on"), [("on", True), ("off", False), ("1", True)])
def test_it_is_set_by_the_environment_too(tmp_path, value, is_on):
    env = {"CLAW_HOME": str(tmp_path), "CLAW_TELEMETRY": value}
    assert load_settings(str(tmp_path), env).telemetry is is_on
