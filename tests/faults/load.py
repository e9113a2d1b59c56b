"""Callers who go on whatever happens, and never forget an outcome that was not acknowledged."""

import asyncio
import heapq
import random
import threading
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from uuid import UUID

import grpc

from bandit.client import requests, responses
from bandit.client.asynchronous import AsyncRouterClient
from bandit.client.decision_ids import uuid7
from bandit.client.errors import NotFoundError, RouterError
from bandit.client.results import Decision, ReportResult
from bandit.client.service_config import channel_options
from bandit.domain.objective import Objective
from bandit.domain.outcome import Disposition
from bandit.wire import router_pb2, router_pb2_grpc
from tests.faults.acknowledged import Acknowledged, Asked, Told

SOURCES = ("app", "judge")
FEATURES = 3
_SENDERS = 4
_MOST_IN_BATCH, _MOST_IN_HURRY = 12, 100
_PASSING = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,  # gRPC's own word for a connection that was reset mid-call
    }
)


@dataclass(order=True, slots=True)
class _Message:
    """A report to be sent at `due_at`, again and again until it is acknowledged."""

    due_at: float
    number: int
    policy: str = field(compare=False)
    decision_id: UUID = field(compare=False)
    arm: str = field(compare=False)
    source: str = field(compare=False)
    sequence: int = field(compare=False)
    values: dict[Objective, float] = field(compare=False)


class Load:
    """
    Selects and reports from several callers at once, until it is told to stop.

    targets   "host:port" of the routers; each call takes one of them
    told      takes what is sent and heard
    pace_s    mean pause of a caller between two selections
    What is asked and sent is drawn from the seed; when it happens depends on the machine.
    """

    def __init__(
        self,
        targets: Sequence[str],
        policies: Sequence[str],
        *,
        seed: int,
        told: Acknowledged,
        callers: int = 6,
        pace_s: float = 0.05,
    ) -> None:
        self.told = told
        self._targets = targets
        self._policies = policies
        self._random = random.Random(seed)
        self._callers = callers
        self._pace_s = pace_s
        self._line: list[_Message] = []
        self._numbers = 0
        self._in_flight = 0
        self._deciding = threading.Event()
        self._sending = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._deciding.set()
        self._sending.set()
        self._thread.start()

    def flow(self, count: int, *, within_s: float) -> None:
        """Return when so many more decisions were answered, or when the time is over."""
        enough = len(self.told.decisions) + count
        deadline = time.monotonic() + within_s
        while len(self.told.decisions) < enough and time.monotonic() < deadline:
            time.sleep(0.02)

    @property
    def unacknowledged(self) -> int:
        """Reports that are still to be sent, or sent again."""
        return len(self._line) + self._in_flight

    def stop(self, *, within_s: float = 120.0) -> None:
        """Decide no more, and deliver every outcome that is left."""
        self._deciding.clear()
        deadline = time.monotonic() + within_s
        while self.unacknowledged and time.monotonic() < deadline and self._thread.is_alive():
            time.sleep(0.05)
        self._sending.clear()
        self._thread.join(timeout=30)
        if self._failure is not None:
            raise self._failure
        if self.unacknowledged:
            self.told.findings.append(
                f"{self.unacknowledged} reports were not taken within {within_s:.0f} s of calm"
            )

    # On the event loop

    def _run(self) -> None:
        try:
            asyncio.run(self._work())
        except BaseException as error:
            self._failure = error

    async def _work(self) -> None:
        async with AsyncExitStack() as stack:
            self._clients = {
                (target, source): await stack.enter_async_context(
                    AsyncRouterClient(target, source=source)
                )
                for target in self._targets
                for source in SOURCES
            }
            self._stubs = {
                target: router_pb2_grpc.RouterStub(
                    await stack.enter_async_context(
                        grpc.aio.insecure_channel(target, channel_options())
                    )
                )
                for target in self._targets
            }
            async with asyncio.TaskGroup() as tasks:
                for _ in range(self._callers):
                    tasks.create_task(self._decide(random.Random(self._random.random())))
                for _ in range(_SENDERS):
                    tasks.create_task(self._send(random.Random(self._random.random())))

    async def _decide(self, draw: random.Random) -> None:
        while self._deciding.is_set():
            target = draw.choice(self._targets)
            policy = draw.choice(self._policies)
            started_at = time.monotonic()
            try:
                decisions = await self._selected(target, policy, draw)
            except RouterError as error:
                self._heard(target, started_at, error.code.name)
                if error.code not in _PASSING:
                    self.told.findings.append(f"Select: {error.code.name} {error}")
            except grpc.RpcError as error:
                self._heard(target, started_at, str(error.code()))
            else:
                self._heard(target, started_at, "")
                for decision in decisions:
                    self._decided(decision, draw)
            await asyncio.sleep(draw.expovariate(1 / self._pace_s))

    def _heard(self, target: str, started_at: float, failure: str) -> None:
        took_s = time.monotonic() - started_at
        self.told.heard(Asked(target, started_at, took_s, failure))

    async def _selected(self, target: str, policy: str, draw: random.Random) -> list[Decision]:
        """By one call of any kind: an id of the client's, of the caller's, or of the router's."""
        client = self._clients[target, SOURCES[0]]
        kind = draw.random()
        if kind < 0.5:
            return [await client.select(policy, vector=_vector(draw))]
        if kind < 0.6:
            own = UUID(int=draw.getrandbits(128), version=4)
            return [await client.select(policy, vector=_vector(draw), decision_id=own)]
        if kind < 0.8:
            vector = router_pb2.Vector(values=_vector(draw))
            request = router_pb2.SelectRequest(policy=policy, vector=vector)
            answer = await self._stubs[target].Select(request, timeout=5.0)
            return [responses.decision(answer, policy=policy)]
        now_ms = time.time_ns() // 1_000_000
        batch = [
            requests.query(
                policy, vector=_vector(draw), decision_id=uuid7(now_ms, draw.getrandbits(74))
            )
            for _ in range(draw.randint(2, _MOST_IN_BATCH))
        ]
        answers = await client.batch_select(batch)
        failed = [answer for answer in answers if isinstance(answer, RouterError)]
        self.told.findings += [
            f"BatchSelect: {error.code.name} {error}"
            for error in failed
            if error.code not in _PASSING
        ]
        decided = [answer for answer in answers if isinstance(answer, Decision)]
        if failed and not decided:
            raise failed[0]
        return decided

    def _decided(self, decision: Decision, draw: random.Random) -> None:
        assert decision.id is not None
        self.told.decided(
            Told(
                decision.policy,
                decision.id,
                decision.arm,
                decision.propensity,
                is_durable=decision.is_durable,
            )
        )
        for source in SOURCES if draw.random() < 0.2 else SOURCES[:1]:
            corrections = draw.choices((0, 1, 2), (0.7, 0.2, 0.1))[0]
            for sequence in range(corrections + 1):
                self._plan(decision, source, sequence, draw)

    def _plan(self, decision: Decision, source: str, sequence: int, draw: random.Random) -> None:
        """One report, to be sent one to three times, the copies far apart or at the same time."""
        assert decision.id is not None
        values = {Objective.QUALITY: round(draw.random(), 3)}
        if draw.random() < 0.8:
            values[Objective.COST] = 10 ** draw.uniform(-4, -2)
        if draw.random() < 0.8:
            values[Objective.LATENCY] = draw.uniform(100.0, 5000.0)
        for objective, value in values.items():
            key = (decision.policy, decision.id, objective, source, sequence)
            self.told.sent[key] = value
        due_at = time.monotonic() + draw.expovariate(1.0)
        for _ in range(draw.randint(1, 3)):
            self._push(
                _Message(
                    due_at + draw.choice((0.0, 0.0, draw.uniform(0, 4))),
                    self._next_number(),
                    decision.policy,
                    decision.id,
                    decision.arm,
                    source,
                    sequence,
                    values,
                )
            )

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _push(self, message: _Message) -> None:
        heapq.heappush(self._line, message)

    async def _send(self, draw: random.Random) -> None:
        while self._sending.is_set():
            now = time.monotonic()
            hurry = not self._deciding.is_set()
            batch: list[_Message] = []
            most = _MOST_IN_HURRY if hurry else draw.choice((1, 1, _MOST_IN_BATCH))
            while (
                self._line
                and len(batch) < most
                and (hurry or self._line[0].due_at <= now)
                and (not batch or self._line[0].source == batch[0].source)
            ):
                batch.append(heapq.heappop(self._line))
            if not batch:
                await asyncio.sleep(0.02)
                continue
            self._in_flight += len(batch)
            try:
                await self._deliver(batch, draw)
            finally:
                self._in_flight -= len(batch)

    async def _deliver(self, batch: list[_Message], draw: random.Random) -> None:
        draw.shuffle(batch)
        client = self._clients[draw.choice(self._targets), batch[0].source]
        reports = [
            requests.outcome(
                message.policy,
                decision_id=message.decision_id,
                arm=message.arm,
                quality=message.values.get(Objective.QUALITY),
                cost_usd=message.values.get(Objective.COST),
                latency_ms=message.values.get(Objective.LATENCY),
                sequence=message.sequence,
            )
            for message in batch
        ]
        answers: Sequence[ReportResult | RouterError]
        try:
            answers = await client.batch_report(reports)
        except RouterError as error:
            answers = [error] * len(batch)
        for message, answer in zip(batch, answers, strict=True):
            if isinstance(answer, ReportResult):
                self._acknowledged(message, answer)
            else:
                self._refused(message, answer)
        if any(isinstance(answer, RouterError) for answer in answers):
            await asyncio.sleep(0.1)

    def _acknowledged(self, message: _Message, result: ReportResult) -> None:
        for receipt in result.receipts:
            if receipt.disposition is Disposition.IGNORED:
                if receipt.reason != "superseded":
                    self.told.findings.append(f"an outcome was ignored: {receipt.reason}")
                continue
            key = (
                message.policy,
                message.decision_id,
                receipt.objective,
                message.source,
                message.sequence,
            )
            self.told.outcomes[key] = message.values[receipt.objective]
            if receipt.disposition is not Disposition.DUPLICATE:
                self.told.first_time[key] += 1

    def _refused(self, message: _Message, error: RouterError) -> None:
        if isinstance(error, NotFoundError):
            told = self.told.decisions[message.policy, message.decision_id]
            if told.is_durable:
                self.told.findings.append(f"durable decision {told.id} is not found")
            if told.is_durable or error.retry_after_s is None or not self._deciding.is_set():
                return
        elif error.code not in _PASSING:
            self.told.findings.append(f"Report: {error.code.name} {error}")
            return
        self.told.put_off.append(f"Report: {error.code.name} {error}")
        message.due_at = time.monotonic() + 0.3
        self._push(message)


def _vector(draw: random.Random) -> list[float]:
    return [draw.gauss(0, 1) for _ in range(FEATURES)]
