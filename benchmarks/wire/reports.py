"""Outcomes in batches of 100, beside the same rows by the driver alone."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid4

import grpc
import psycopg

from bandit.domain.decision import day_of
from bandit.domain.objective import HEADS
from bandit.wire import feedback_pb2 as f
from bandit.wire import feedback_pb2_grpc, router_pb2_grpc
from bandit.wire import router_pb2 as r
from benchmarks.wire.service import POLICY, Service, a_request

EACH, IN_FLIGHT, BATCHES = 100, 8, 40
_INSERT = """
    insert into outcome (policy_id, day, decision_id, head, source, sequence, value, received_at)
    select * from unnest(%s::uuid[], %s::date[], %s::uuid[], %s::smallint[], %s::text[],
                         %s::bigint[], %s::float8[], %s::timestamptz[])
    on conflict do nothing
"""


def reported(service: Service) -> float:
    """Rows per second through the service."""
    return asyncio.run(_reported(service))


async def _reported(service: Service) -> float:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{service.router}") as channel:
        batches = await _made(router_pb2_grpc.RouterStub(channel))
        report = feedback_pb2_grpc.FeedbackStub(channel).BatchReport
        waiting = iter(batches)
        started = time.perf_counter()

        async def caller() -> None:
            for batch in waiting:
                response = await report(batch)
                assert all(item.HasField("response") for item in response.items)  # noqa: S101

        await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
        spent = time.perf_counter() - started
    return len(batches) * EACH * len(HEADS) / spent


async def _made(router: router_pb2_grpc.RouterStub) -> list[f.BatchReportRequest]:
    """Reports of decisions that wait for them."""
    request = r.BatchSelectRequest(requests=[a_request()] * EACH)
    batches = []
    for _ in range(BATCHES):
        chosen = [item.response for item in (await router.BatchSelect(request)).items]
        batches.append(
            f.BatchReportRequest(
                requests=[
                    f.ReportRequest(
                        policy=POLICY,
                        decision_id=each.decision_id,
                        arm=each.arm,
                        quality=0.5,
                        cost_usd=0.001,
                        latency_ms=1000.0,
                    )
                    for each in chosen
                ]
            )
        )
    return batches


def inserted(service: Service) -> float:
    """Rows per second by one connection of the driver's, a commit per batch."""
    policy, now = uuid4(), datetime.now(UTC)
    batches = [_columns(policy, [uuid4() for _ in range(EACH)], now) for _ in range(BATCHES)]
    with psycopg.connect(service.database_url) as connection:
        started = time.perf_counter()
        for columns in batches:
            connection.execute(_INSERT, columns)
            connection.commit()
        spent = time.perf_counter() - started
    return BATCHES * EACH * len(HEADS) / spent


def _columns(policy: UUID, ids: Sequence[UUID], now: datetime) -> list[list[object]]:
    rows = [
        (policy, day_of(id_), id_, int(head), "bench", 0, 0.5, now) for id_ in ids for head in HEADS
    ]
    return [list(column) for column in zip(*rows, strict=True)]
