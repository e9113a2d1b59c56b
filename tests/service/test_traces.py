"""Spans as a collector gets them, beside the line of the log about the same call."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as collected
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from bandit.wire import feedback_pb2 as f
from bandit.wire import router_pb2 as r
from services.settings import BadSettings, Settings
from services.telemetry.router import RouterTelemetry
from tests.service.calls import Calls, error_of, eventually
from tests.service.test_life import SERVICES, free_port
from tests.service.test_metrics import a_policy, a_report

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VECTOR = r.Vector(values=[1.0, 2.0, 3.0])


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps the spans that it gets."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)
        return collected.ExportTraceServiceResponse()

    def of(self, trace: str) -> list[Span]:
        return [span for span in self.spans if span.trace_id.hex() == trace]


@contextmanager
def collector(port: int = 0) -> Iterator[tuple[Collector, int]]:
    """A collector and its port."""
    server, made = grpc.server(ThreadPoolExecutor(2)), Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(made, server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield made, bound
    finally:
        server.stop(None)


@dataclass(frozen=True)
class World:
    calls: Calls
    collector: Collector
    log: Path
    policy: str

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


def variable(key: str) -> str:
    return key if key.startswith("OTEL_") else f"BANDIT_{key.upper()}"


@contextmanager
def router_telling(url: str, log: Path, **settings: object) -> Iterator[Calls]:
    """Calls to a router with these settings, whose log goes to a file."""
    port = free_port()
    given = {"database_url": url, "port": port, "log_format": "json", **settings}
    with log.open("wb") as standard_error:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.router"],
            env=os.environ
            | {variable(key): str(value) for key, value in given.items()}
            | {"OTEL_BSP_SCHEDULE_DELAY": "50"},
            stderr=standard_error,
        )
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            grpc.channel_ready_future(channel).result(timeout=60)
            health: Any = health_pb2_grpc.HealthStub(channel)
            request = health_pb2.HealthCheckRequest(service=SERVICES[0])
            serving = health_pb2.HealthCheckResponse.SERVING
            eventually(
                lambda: health.Check(request).status,
                lambda status: status == serving,
                within_s=60,
            )
            yield Calls(channel)
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def world(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    log = tmp_path_factory.mktemp("traces") / "log"
    with (
        collector() as (made, port),
        router_telling(
            module_database_url,
            log,
            otlp_endpoint=f"http://127.0.0.1:{port}",
            log_level="debug",
        ) as calls,
    ):
        yield World(calls, made, log, a_policy(calls))


def traced(trace: str, *, sampled: bool = True) -> list[tuple[str, str]]:
    return [("traceparent", f"00-{trace}-{PARENT}-0{int(sampled)}")]


def a_trace(number: int) -> str:
    return f"{TRACE[:-4]}{number:04x}"


def attributes(span: Span) -> dict[str, object]:
    return {
        each.key: getattr(each.value, str(each.value.WhichOneof("value")))
        for each in span.attributes
    }


def spans(world: World, trace: str, count: int) -> list[Span]:
    """The spans of a trace once so many are there, the call's own last."""
    found = eventually(lambda: world.collector.of(trace), lambda found: len(found) >= count)
    return sorted(found, key=lambda span: span.kind != Span.SPAN_KIND_CLIENT)


def test_a_selection_goes_on_in_its_callers_trace_with_the_commit_beneath(world: World) -> None:
    trace = a_trace(1)
    request = r.SelectRequest(policy=world.policy, vector=VECTOR)

    world.calls.router.Select(request, metadata=traced(trace))

    commit, call = spans(world, trace, 2)
    assert call.name == "bandit.router.v1.Router/Select"
    assert call.kind == Span.SPAN_KIND_SERVER
    assert call.parent_span_id.hex() == PARENT
    found = attributes(call)
    found.pop("bandit.request_id", None)
    assert found == {
        "rpc.system": "grpc",
        "rpc.service": "bandit.router.v1.Router",
        "rpc.method": "Select",
        "rpc.grpc.status_code": 0,
        "bandit.tenant": "default",
        "bandit.policy": world.policy,
    }
    assert commit.name == "commit decisions"
    assert commit.parent_span_id == call.span_id
    assert attributes(commit) == {"db.system.name": "postgresql", "bandit.decisions": 1}
    assert call.start_time_unix_nano <= commit.start_time_unix_nano
    assert commit.end_time_unix_nano <= call.end_time_unix_nano


def test_a_batch_has_the_commit_of_its_decisions_and_a_report_that_of_its_values(
    world: World,
) -> None:
    several, reported = a_trace(2), a_trace(3)
    request = r.SelectRequest(policy=world.policy, vector=VECTOR)

    batch = world.calls.router.BatchSelect(
        r.BatchSelectRequest(requests=[request] * 5), metadata=traced(several)
    )
    world.calls.feedback.Report(
        a_report(world.policy, batch.items[0].response), metadata=traced(reported)
    )

    commit, call = spans(world, several, 2)
    assert attributes(commit)["bandit.decisions"] == 5
    assert attributes(call)["bandit.policy"] == world.policy
    commit, call = spans(world, reported, 2)
    assert (commit.name, call.name) == ("commit outcomes", "bandit.router.v1.Feedback/Report")
    assert attributes(call)["bandit.policy"] == world.policy


def test_a_stream_is_one_span(world: World) -> None:
    trace = a_trace(4)
    request = r.SelectRequest(policy=world.policy, vector=VECTOR)

    stream = iter([r.SelectStreamRequest(request=request)] * 3)
    assert len(list(world.calls.router.SelectStream(stream, metadata=traced(trace)))) == 3

    (call,) = spans(world, trace, 1)
    assert attributes(call)["rpc.method"] == "SelectStream"
    assert attributes(call)["rpc.grpc.status_code"] == 0


def test_a_call_that_fails_says_how(world: World) -> None:
    trace = a_trace(5)

    with pytest.raises(grpc.RpcError):
        world.calls.router.Select(r.SelectRequest(policy="none"), metadata=traced(trace))

    (call,) = spans(world, trace, 1)
    assert attributes(call)["rpc.grpc.status_code"] == grpc.StatusCode.NOT_FOUND.value[0]
    assert attributes(call)["bandit.policy"] == "none"
    assert (call.status.code, call.status.message) == (2, "NOT_FOUND")


def test_what_its_caller_does_not_sample_is_not_told(world: World) -> None:
    unsampled, sampled = a_trace(6), a_trace(7)
    request = r.SelectRequest(policy=world.policy, vector=VECTOR)

    world.calls.router.Select(request, metadata=traced(unsampled, sampled=False))
    world.calls.router.Select(request, metadata=traced(sampled))

    spans(world, sampled, 2)
    assert world.collector.of(unsampled) == []


def test_every_call_has_a_line_where_the_level_is_debug(world: World) -> None:
    with pytest.raises(grpc.RpcError):
        world.calls.feedback.Report(f.ReportRequest(policy=world.policy))

    line = eventually(
        lambda: [line for line in world.lines() if line["event"] == "call ended"][-1:],
        lambda found: found and found[0]["method"].endswith("/Report"),
    )[0]
    assert line["method"] == "/bandit.router.v1.Feedback/Report"
    assert line["code"] == "INVALID_ARGUMENT"
    assert 0 < line["duration_ms"] < 10_000
    assert line["level"] == "debug"
    assert "request_id" in line


def test_span_line_and_error_of_a_call_have_one_id(world: World) -> None:
    trace, own = a_trace(8), "my-request-8"
    metadata = [*traced(trace), ("x-request-id", own)]

    with pytest.raises(grpc.RpcError) as raised:
        world.calls.router.Select(r.SelectRequest(policy="none"), metadata=metadata)
    good = r.SelectRequest(policy=world.policy, vector=VECTOR)
    world.calls.router.Select(good, metadata=metadata)

    assert error_of(raised.value)[1]["ErrorInfo"].metadata["request_id"] == own
    calls = [span for span in spans(world, trace, 3) if span.kind == Span.SPAN_KIND_SERVER]
    assert [attributes(call)["bandit.request_id"] for call in calls] == [own, own]
    lines = eventually(
        lambda: [line for line in world.lines() if line.get("request_id") == own],
        lambda found: len(found) == 2,
    )
    assert {line["code"] for line in lines} == {"NOT_FOUND", "OK"}


def test_a_collector_that_is_away_is_told_of_once_and_harms_no_call(
    module_database_url: str, tmp_path: Path
) -> None:
    port, log = free_port(), tmp_path / "log"

    def events() -> list[str]:
        return [json.loads(line)["event"] for line in log.read_text().splitlines()]

    with router_telling(
        module_database_url,
        log,
        otlp_endpoint=f"http://127.0.0.1:{port}",
        log_level="info",
        OTEL_EXPORTER_OTLP_TIMEOUT=1,
    ) as calls:
        policy, took = a_policy(calls), []

        def call() -> None:
            began = time.monotonic()
            calls.select(policy)
            took.append(time.monotonic() - began)

        eventually(lambda: (call(), events())[1], lambda told: "sending traces fails" in told)
        time.sleep(1.5)
        with collector(port) as (made, _):
            eventually(
                lambda: (call(), events())[1], lambda told: "sending traces works again" in told
            )
            assert made.spans
            told = events()

    assert max(took) < 1.0
    about_traces = [event for event in told if "traces" in event]  # as the library's own are, too
    assert about_traces == ["sending traces fails", "sending traces works again"]


def test_traces_without_the_extra_are_refused_by_the_name_of_the_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.delitem(sys.modules, "services.telemetry.tracing", raising=False)

    with pytest.raises(BadSettings, match="otlp_endpoint: needs the extra `otel`"):
        RouterTelemetry(Settings.load(otlp_endpoint="http://127.0.0.1:4317"))
    with pytest.raises(BadSettings, match=r"otlp_endpoint .*: must be the http://"):
        Settings.load(otlp_endpoint="127.0.0.1:4317")
