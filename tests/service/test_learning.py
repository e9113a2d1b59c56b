"""What the running learner makes of the log is what the library makes of it."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any
from uuid import UUID

import grpc
import numpy as np
import psycopg
import pytest
from sqlalchemy import Engine

from bandit.domain.decision import Decision, DecisionId
from bandit.domain.objective import Objective
from bandit.domain.outcome import OutcomeRow
from bandit.domain.policy import Policy
from bandit.features.schema import schema_of
from bandit.routing.learner import fold_due
from bandit.routing.ports import Cell, StoredSums
from bandit.store.memory import MemoryStore
from bandit.store.postgres.catalog import PostgresCatalog
from bandit.store.postgres.decisions import PostgresDecisionLog
from bandit.store.postgres.engine import make_engine
from bandit.store.postgres.posteriors import PostgresPosteriors
from bandit.wire import catalog_pb2 as c
from bandit.wire import feedback_pb2 as f
from bandit.wire import router_pb2 as r
from services.supervisor import Stack
from tests.builders import an_event
from tests.service.calls import Calls, eventually, running_router

OUTCOMES = 150


def report(policy: str, chosen: r.SelectResponse, **fields: Any) -> f.ReportRequest:
    return f.ReportRequest(policy=policy, decision_id=chosen.decision_id, arm=chosen.arm, **fields)


def test_the_learned_sums_are_the_librarys_fold_of_the_log(
    calls: Calls, policy: str, stack: Stack, database: psycopg.Connection
) -> None:
    """Outcomes come twice, corrected, out of order, and interleaved with the learner's work."""
    random = Random(7)
    requests = [
        r.SelectRequest(
            policy=policy, vector=r.Vector(values=[random.gauss(0, 1) for _ in range(3)])
        )
        for _ in range(OUTCOMES)
    ]
    chosen = [
        item.response
        for item in calls.router.BatchSelect(r.BatchSelectRequest(requests=requests)).items
    ]
    reports = []
    for each in chosen:
        reports.append(report(policy, each, quality=random.random(), sequence=random.randint(0, 3)))
        reports.append(report(policy, each, cost_usd=10 ** random.uniform(-6, -1)))
        reports.append(report(policy, each, latency_ms=random.uniform(1, 9000)))
        if random.random() < 0.5:
            reports.append(report(policy, each, quality=random.random(), sequence=2))
    reports += random.sample(reports, len(reports) // 2)
    random.shuffle(reports)
    for start in range(0, len(reports), 100):
        batch = f.BatchReportRequest(requests=reports[start : start + 100])
        items = calls.feedback.BatchReport(batch).items
        assert all(item.WhichOneof("result") == "response" for item in items)
    calls.learned(policy)

    engine = make_engine(stack.database_url)
    stored_policy = PostgresCatalog(engine).get(policy)
    served = sums_of(engine, stored_policy)
    expected = folded_by_the_library(
        stack, database, stored_policy, [e.decision_id for e in chosen]
    )
    engine.dispose()

    assert set(served) == set(expected)
    assert sum(cell.observations for cell in served.values()) == 3 * OUTCOMES
    for cell, sums in expected.items():
        assert sums.sums is not None
        kept = served[cell].sums
        assert kept is not None
        assert served[cell].observations == sums.observations
        values, served_values = sums.sums.values, kept.values
        tolerance = 1e-9 * (1 + np.abs(values).max())
        assert np.abs(values - served_values).max() <= tolerance


def sums_of(engine: Engine, policy: Policy) -> dict[Cell, StoredSums]:
    schema_id = schema_of(policy.settings.context).id
    return PostgresPosteriors(engine).learned(policy.id, schema_id, known={})[1]


def folded_by_the_library(
    stack: Stack, database: psycopg.Connection, policy: Policy, ids: Sequence[str]
) -> dict[Cell, StoredSums]:
    """The log, read from the tables and folded in one go in memory."""

    async def decisions() -> list[Decision]:
        log = PostgresDecisionLog(stack.database_url)
        found = await log.find(policy.id, [DecisionId(UUID(id_)) for id_ in ids])
        await log.close()
        return list(found.values())

    memory = MemoryStore()
    memory.create(policy, an_event())
    memory.record_now(asyncio.run(decisions()))
    rows = database.execute(
        "select decision_id, head, source, sequence, value, received_at from outcome"
        " where policy_id = %s order by sequence",
        [policy.id],
    ).fetchall()
    memory.append_now(
        policy.id,
        [
            OutcomeRow(DecisionId(id_), Objective(head), source, sequence, value, at)
            for id_, head, source, sequence, value, at in rows
        ],
    )
    now = datetime.now(UTC)
    while (folded := fold_due(memory, policy, now=now)) is not None and folded.settled:
        pass
    return memory.learned(policy.id, schema_of(policy.settings.context).id, known={})[1]


def test_an_arm_without_outcomes_and_one_added_just_now_are_chosen_too(
    calls: Calls, new_policy: Callable[..., str]
) -> None:
    policy = new_policy(algorithm=c.ALGORITHM_UNIFORM)
    for _ in range(5):
        chosen = calls.select(policy, allow_arms=["a"])
        calls.feedback.Report(report(policy, chosen, quality=0.9))
    calls.learned(policy)
    calls.catalog.AddArm(c.AddArmRequest(policy=policy, arm=c.Arm(name="newcomer")))

    chosen_arms: set[str] = set()
    deadline = time.monotonic() + 10
    while "newcomer" not in chosen_arms and time.monotonic() < deadline:  # trials are leased first
        batch = [r.SelectRequest(policy=policy, vector=r.Vector(values=[1, 2, 3]))] * 200
        items = calls.router.BatchSelect(r.BatchSelectRequest(requests=batch)).items
        chosen_arms |= {item.response.arm for item in items}

    assert chosen_arms == {"a", "b", "newcomer"}


def test_a_corrupt_arm_is_told_of_and_stops_no_other(
    calls: Calls,
    new_policy: Callable[..., str],
    stack: Stack,
    database: psycopg.Connection,
    capfd: pytest.CaptureFixture[str],
) -> None:
    policy = new_policy(algorithm=c.ALGORITHM_UNIFORM)
    for arm in ("a", "b"):
        chosen = calls.select(policy, allow_arms=[arm])
        calls.feedback.Report(report(policy, chosen, quality=0.5))
    calls.learned(policy)
    database.execute(
        "update posterior set sums = '\\xdeadbeef' from arm, policy"
        " where policy.name = %s and arm.policy_id = policy.id and arm.name = 'a'"
        " and posterior.arm_id = arm.id",
        [policy],
    )

    with (
        running_router(stack.database_url) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        fresh = Calls(channel)
        heads = {arm.arm: arm.heads[0] for arm in fresh.state(policy).arms}
        assert heads["a"].fault
        assert not heads["b"].fault
        assert heads["b"].observations == 1
        assert {fresh.select(policy).arm for _ in range(40)} == {"a", "b"}

        # Outcomes of the corrupt arm wait; the other's are learned.
        for arm in ("a", "b"):
            chosen = fresh.select(policy, allow_arms=[arm])
            fresh.feedback.Report(report(policy, chosen, quality=0.5))
        eventually(
            lambda: {arm.arm: arm.heads[0] for arm in fresh.state(policy).arms},
            lambda heads: heads["b"].observations == 2,
        )
        assert fresh.state(policy).pending_outcomes == 1
    assert "learned state cannot be used" in capfd.readouterr().err

    # The router that was there all the time finds the damage too, and serves what it had learned.
    states = eventually(
        lambda: {arm.arm: arm.heads[0] for arm in calls.state(policy).arms},
        lambda heads: heads["a"].fault,
    )
    assert states["a"].mean < 0.9
    assert not states["b"].fault
