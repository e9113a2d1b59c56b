"""What a router tells of itself: nothing, unless its settings ask for it."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, cast

import grpc

from bandit.domain.policy import Policy, PolicyId
from bandit.routing.feedback import Feedback, Policies
from bandit.routing.ports import DecisionBacklog, DecisionLog, OutcomeLog
from services.logs import Outage, logger
from services.settings import BadSettings, Settings
from services.telemetry.calls import Counted, Ended, Layer, LayeredServer, tell_debug
from services.telemetry.endpoint import Endpoint, own_endpoint
from services.telemetry.observed import (
    CommitWitness,
    CountedBacklog,
    CountedFeedback,
    TimedDecisionLog,
    TimedOutcomeLog,
)
from services.telemetry.sources import Sources

if TYPE_CHECKING:
    from services.telemetry.router_metrics import RouterMetrics
    from services.telemetry.tracing import Tracing

_INTERVAL_S = 1.0

_log = logger(__name__)


class RouterTelemetry:
    """
    Stands between the router's parts, where the settings ask for metrics, traces or debug lines.

    What nobody asks for is handed through as it is, and its libraries are not imported.
    Raises CannotTellMetrics, and BadSettings where traces are asked for and their extra is missing.
    """

    def __init__(self, settings: Settings) -> None:
        self._metrics, self._endpoint = _metrics(settings)
        self._tracing = _tracing(settings)
        witnesses: list[Callable[[Ended], None]] = []
        self._commits: list[CommitWitness] = []
        self._sources: Sources | None = None
        if self._metrics is not None:
            witnesses.append(self._metrics.ended)
            self._commits.append(self._metrics)
        if settings.log_level == "debug":
            witnesses.append(tell_debug)
        self._counted = Counted(witnesses)
        self._layers: list[Layer] = [self._counted] if witnesses else []
        if self._tracing is not None:
            self._layers.insert(0, self._tracing)
            self._commits.append(self._tracing)

    # Where it stands

    def server(self, server: grpc.aio.Server) -> grpc.aio.Server:
        """The server to which methods are added, as far as the generated code uses one."""
        if not self._layers:
            return server
        return cast("grpc.aio.Server", LayeredServer(server, self._layers))

    def decision_log(self, log: DecisionLog) -> DecisionLog:
        """The log, told of."""
        return TimedDecisionLog(log, self._commits) if self._commits else log

    def outcome_log(self, log: OutcomeLog) -> OutcomeLog:
        """The log, told of."""
        return TimedOutcomeLog(log, self._commits) if self._commits else log

    def backlog(
        self, backlog: DecisionBacklog, policy_of: Callable[[PolicyId], Policy | None]
    ) -> DecisionBacklog:
        """The backlog, told of."""
        if self._metrics is None:
            return backlog
        return CountedBacklog(backlog, partial(self._metrics.decided, policy_of=policy_of))

    def feedback(
        self,
        policies: Policies,
        decisions: DecisionBacklog,
        outcomes: OutcomeLog,
        *,
        clock: Callable[[], datetime],
    ) -> Feedback:
        """The use case, told of."""
        if self._metrics is None:
            return Feedback(policies, decisions, outcomes, clock=clock)
        return CountedFeedback(
            policies, decisions, outcomes, clock=clock, told=self._metrics.reported
        )

    # While it runs

    def ready(self, is_ready: bool) -> None:
        """Whether calls are welcome."""
        if self._metrics is not None:
            self._metrics.ready(is_ready)

    async def keep(self, sources: Sources) -> None:
        """Measure what is there, once a second, for ever."""
        self._sources = sources
        outage = Outage(_log, "measuring")
        while self._metrics is not None:
            try:
                self._look()
            except Exception as error:
                # Whatever it is, the service goes on.
                outage.began(error, with_stack=True)
            else:
                outage.ended()
            await asyncio.sleep(_INTERVAL_S)

    async def close(self) -> None:
        """At the end of the process, after all else."""
        self._look()
        if self._tracing is not None:
            await self._tracing.close()
        if self._endpoint is not None:
            await asyncio.to_thread(self._endpoint.close)

    def _look(self) -> None:
        if self._metrics is not None and self._sources is not None:
            self._metrics.look(self._sources, under_way=self._counted.under_way)


# Imported in these: whoever wants neither pays for neither.


def _metrics(settings: Settings) -> "tuple[RouterMetrics | None, Endpoint | None]":
    if settings.metrics_port is None:
        return None, None
    from services.telemetry.instruments import Instruments
    from services.telemetry.router_metrics import RouterMetrics

    made = Instruments()
    metrics = RouterMetrics(made, calls_limit=settings.max_calls)
    return metrics, own_endpoint(settings, made.registry)


def _tracing(settings: Settings) -> "Tracing | None":
    if settings.otlp_endpoint is None:
        return None
    try:
        from services.telemetry.tracing import tracing_to
    except ImportError as error:
        raise BadSettings(
            "otlp_endpoint",
            f"otlp_endpoint: needs the extra `otel`: pip install 'bandit-router[otel]' ({error})",
        ) from None
    return tracing_to(settings.otlp_endpoint)
