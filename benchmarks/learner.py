"""Outcomes learned in micro-batches, beside one transaction per outcome."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from bandit.domain.decision import Decision, DecisionId
from bandit.domain.objective import HEADS
from bandit.domain.outcome import OutcomeRow
from bandit.domain.policy import (
    ContextSettings,
    ContextSource,
    NamedFeature,
    Policy,
    PolicySettings,
)
from bandit.routing.learner import MICRO_BATCH, fold_due
from bandit.store.postgres.catalog import PostgresCatalog
from bandit.store.postgres.decisions import PostgresDecisionLog
from bandit.store.postgres.embedded import EmbeddedPostgres
from bandit.store.postgres.engine import make_engine
from bandit.store.postgres.learning import PostgresLearning
from bandit.store.postgres.outcomes import PostgresOutcomeLog
from benchmarks.contest import Contest
from migrations.upgrade import upgrade
from tests.builders import a_decision, a_policy, a_uuid7, an_arm, an_event

ARMS, FEATURES = 12, 48
TOGETHER, ALONE = 3000, 60  # keys in a round


@contextmanager
def contests() -> Iterator[list[Contest]]:
    """One, on a Postgres of its own."""
    with ExitStack() as ending:
        postgres = ending.enter_context(EmbeddedPostgres.start())
        upgrade(postgres.url, today=datetime.now(UTC).date())
        engine = make_engine(postgres.url)
        ending.callback(engine.dispose)
        policy = _policy()
        PostgresCatalog(engine).create(policy, an_event())
        learning = PostgresLearning(engine)

        def learned(keys: int, limit: int) -> float:
            asyncio.run(_reported(postgres.url, policy, keys))
            now = datetime.now(UTC)
            done, started = 0, time.perf_counter()
            while done < keys:
                fold_due(learning, policy, now=now, limit=limit)
                done += limit
            return keys / (time.perf_counter() - started)

        yield [
            Contest(
                f"learner, {ARMS} arms, {FEATURES} features / one transaction per outcome",
                lambda: learned(TOGETHER, MICRO_BATCH),
                lambda: learned(ALONE, 1),
                floor=40,
                aim=100,
                unit="outcomes per second",
            )
        ]


def _policy() -> Policy:
    named = tuple(NamedFeature(f"feature {n}", 0.0, 1.0) for n in range(FEATURES - 1))
    context = ContextSettings(source=ContextSource.NONE, named=named)
    arms = [an_arm(f"arm {number}") for number in range(ARMS)]
    return a_policy(settings=PolicySettings(context=context), arms=arms)


async def _reported(url: str, policy: Policy, keys: int) -> None:
    """So many outcomes in line, of three heads each decision."""
    random = np.random.default_rng(0)
    now = datetime.now(UTC)
    decisions = []
    for number in range(keys // len(HEADS)):
        context = random.normal(size=FEATURES).astype(np.float32)
        made: Decision = a_decision(policy, id=DecisionId(a_uuid7(now)), context=context)
        decisions.append(replace(made, arm_id=policy.arms[number % ARMS].id, at=now))
    log, outcomes = PostgresDecisionLog(url), PostgresOutcomeLog(url)
    try:
        await log.record(decisions)
        rows = [
            OutcomeRow(decision.id, head, "bench", 0, 0.5, now)
            for decision in decisions
            for head in HEADS
        ]
        await outcomes.append(policy.id, rows)
    finally:
        await log.close()
        await outcomes.close()
