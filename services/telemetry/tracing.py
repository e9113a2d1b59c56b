"""
A span per call, continuing the caller's trace, for a collector that speaks OTLP.

The library's own instrumentation is an interceptor, which would be asked again for each call; this
is a layer around each method.  Importing this imports the extra `otel`.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any
from uuid import UUID

import grpc
from google.protobuf.message import DecodeError
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from bandit.domain.arm import LONGEST_NAME
from bandit.domain.decision import Decision
from bandit.wire import router_pb2
from services.logs import Outage, logger
from services.router.request import REQUEST
from services.telemetry.calls import Context, code_of, request_id_of

_SERVICE = "bandit-router"
_MOST_COMMITS = 8192  # remembered until the calls end whose decisions they stored
_FAREWELL_S = 1.0
_POSTGRES = {"db.system.name": "postgresql"}
_NUMBERS: Mapping[str, int] = {code.name: code.value[0] for code in grpc.StatusCode}

_log = logger(__name__)


class ToldExporter(SpanExporter):
    """
    An exporter whose failures are told when they begin and when they are over.

    The library would tell of each attempt.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
        self._exporter = exporter
        self._outage = Outage(_log, "sending traces")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See `SpanExporter`."""
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self._outage.ended()
        else:
            self._outage.began(ConnectionError("the collector does not take them"))
        return result

    def shutdown(self) -> None:
        """See `SpanExporter`."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """See `SpanExporter`."""
        return self._exporter.force_flush(timeout_millis)


class Tracing:
    """
    A layer that makes spans; implements `observed.CommitWitness`, too.

    Which calls are traced is up to their callers, or to the library's variables
    (`OTEL_TRACES_SAMPLER`).

    Decisions of many calls are committed together, so a commit is remembered under the decisions'
    ids, and becomes a part of each call's span when that call ends.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._provider = TracerProvider(resource=Resource.create({"service.name": _SERVICE}))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(_SERVICE)
        self._propagator = TraceContextTextMapPropagator()
        self._commits: OrderedDict[int, tuple[int, int, int]] = OrderedDict()

    # As a layer

    def unary(self, call: Any, method: str) -> Any:
        """See `Layer`."""
        name, attributes = method[1:], _attributes(method)

        async def traced(request: Any, context: Context) -> Any:
            with self._span(name, attributes, context) as span:
                if not span.is_recording():
                    return await call(request, context)
                try:
                    response = await call(request, context)
                except BaseException as error:
                    _end(span, code_of(error, context), context)
                    raise
                else:
                    _end(span, "OK", context)
                    self._add_commits(span, response)
                    return response
                finally:
                    _tell_whose(span, method)

        return traced

    def stream(self, stream: Any, method: str) -> Any:
        """See `Layer`."""
        name, attributes = method[1:], _attributes(method)

        async def traced(requests: Any, context: Context) -> Any:
            # Not made current: a generator may be continued from elsewhere.
            parent = self._propagator.extract(_carrier(context))
            span = self._tracer.start_span(
                name, context=parent, kind=SpanKind.SERVER, attributes=attributes
            )
            code = "OK"
            try:
                async with aclosing(stream(requests, context)) as items:
                    async for item in items:
                        yield item
            except BaseException as error:
                code = code_of(error, context)
                raise
            finally:
                _end(span, code, context)
                span.end()

        return traced

    def _span(self, name: str, attributes: Mapping[str, str], context: Context) -> Any:
        return self._tracer.start_as_current_span(
            name,
            context=self._propagator.extract(_carrier(context)),
            kind=SpanKind.SERVER,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        )

    # As a witness

    def decisions(self, decisions: Sequence[Decision], began_ns: int, ended_ns: int) -> None:
        """See `CommitWitness`."""
        commit = began_ns, ended_ns, len(decisions)
        for decision in decisions:
            self._commits[decision.id.int] = commit
        while len(self._commits) > _MOST_COMMITS:
            self._commits.popitem(last=False)

    def outcomes(self, began_ns: int, ended_ns: int) -> None:
        """See `CommitWitness`."""
        span = trace.get_current_span()
        if span.is_recording():
            self._add_commit(span, "commit outcomes", began_ns, ended_ns, {})

    def _add_commits(self, span: Span, response: Any) -> None:
        commits = {
            commit
            for id_ in decision_ids(response)
            if (commit := self._commits.pop(id_, None)) is not None
        }
        for began_ns, ended_ns, count in sorted(commits):
            together = {"bandit.decisions": count}
            self._add_commit(span, "commit decisions", began_ns, ended_ns, together)

    def _add_commit(
        self, span: Span, name: str, began_ns: int, ended_ns: int, facts: Mapping[str, int]
    ) -> None:
        child = self._tracer.start_span(
            name,
            context=trace.set_span_in_context(span),
            kind=SpanKind.CLIENT,
            attributes={**_POSTGRES, **facts},
            start_time=began_ns,
        )
        child.end(end_time=ended_ns)

    # At the end

    async def close(self) -> None:
        """Send what is left, as far as that can be done soon."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_S):
                await asyncio.to_thread(self._provider.shutdown)


def tracing_to(endpoint: str) -> Tracing:
    """Spans go to the collector at this URL."""
    return Tracing(ToldExporter(OTLPSpanExporter(endpoint=endpoint)))


def policy_of(request: Any, method: str) -> str | None:
    """The policy that a request names, as it travels or as it was read; None: it names none."""
    if isinstance(request, bytes):
        with suppress(DecodeError):
            return router_pb2.SelectRequest.FromString(request).policy
        return None
    for field in ("requests", "reports"):
        several = getattr(request, field, None)
        if several is not None:
            return policy_of(several[0], method) if several else None
    inner = getattr(request, "request", None)
    if inner is not None:
        return policy_of(inner, method)
    named = getattr(request, "policy", None) or getattr(request, "name", None)
    return named if isinstance(named, str) else None


def decision_ids(response: Any) -> Iterable[int]:
    """The decisions that an answer tells of, as it travels or before."""
    if isinstance(response, bytes):
        response = router_pb2.SelectResponse.FromString(response)
    if isinstance(response, router_pb2.SelectResponse):
        yield UUID(response.decision_id).int
    elif isinstance(response, router_pb2.BatchSelectResponse):
        for item in response.items:
            if item.HasField("response"):
                yield UUID(item.response.decision_id).int


def _attributes(method: str) -> Mapping[str, str]:
    _, service, name = method.split("/")
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}


def _carrier(context: Context) -> dict[str, str]:
    return {
        key: value
        for key, value in context.invocation_metadata() or ()
        if key in ("traceparent", "tracestate") and isinstance(value, str)
    }


def _end(span: Span, code: str, context: Context) -> None:
    span.set_attribute("rpc.grpc.status_code", _NUMBERS[code])
    if code != "OK":
        span.set_status(Status(StatusCode.ERROR, code))
    _tell(span, "bandit.request_id", request_id_of(context))


def _tell_whose(span: Span, method: str) -> None:
    """Of a call that was let in: what others send is not kept, and may be long."""
    request = REQUEST.get(None)
    if request is None or request.caller is None:
        return
    _tell(span, "bandit.tenant", request.caller.tenant)
    _tell(span, "bandit.policy", (policy_of(request.message, method) or "")[:LONGEST_NAME])


def _tell(span: Span, key: str, value: object) -> None:
    if isinstance(value, str) and value:
        span.set_attribute(key, value)
