"""What is learned depends on which outcomes came in, and not on how: in both stores."""

import asyncio
import random
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bandit.domain.decision import Decision
from bandit.domain.objective import HEADS, Objective
from bandit.domain.policy import PolicySettings
from bandit.domain.reward_window import RewardWindow, deadlines_of
from bandit.features.schema import schema_of
from bandit.learning.decay import Forgetting, as_of
from bandit.routing.learner import fold_due
from bandit.store.postgres.activations import PostgresActivationLog
from bandit.store.postgres.catalog import PostgresCatalog
from bandit.store.postgres.decisions import PostgresDecisionLog
from bandit.store.postgres.engine import make_engine
from bandit.store.postgres.learning import PostgresLearning
from bandit.store.postgres.ledger import PostgresLedger
from bandit.store.postgres.outcomes import PostgresOutcomeLog
from bandit.store.postgres.posteriors import PostgresPosteriors
from tests.builders import A_CONTEXT, NOW, a_decision, a_policy, an_outcome
from tests.contract.conftest import Store, in_memory

HALF_LIFE_HOURS = {Objective.LATENCY: 24.0}
WINDOWS = {Objective.QUALITY: RewardWindow(30, 0.25), Objective.COST: RewardWindow(12)}
LATER = NOW + timedelta(days=3)
DECISIONS = 6

outcome_values = st.dictionaries(
    st.tuples(
        st.integers(0, DECISIONS - 1),
        st.sampled_from(HEADS),
        st.sampled_from(["judge", "user"]),
        st.integers(0, 3),
    ),
    # The value, and after how many hours it came.
    st.tuples(st.floats(1e-6, 1.0), st.floats(0.0, 40.0)),
    min_size=1,
    max_size=30,
)
# Of each decision, whether it teaches at once, after an activation that comes, or never.
patiences = st.lists(
    st.sampled_from(["eager", "activated", "never"]), min_size=DECISIONS, max_size=DECISIONS
)
windows = st.sampled_from([{}, WINDOWS])


async def learned(store: Store, values, patience, windows, rng: random.Random, *, is_orderly: bool):
    """
    The sums after these outcomes and activations: in order, at once, folded at the end; or in any
    order, repeated, in batches, folded in between, before windows close and after.
    """
    kept = PolicySettings(
        context=A_CONTEXT, half_life_hours=HALF_LIFE_HOURS, reward_windows=windows
    )
    policy = store.with_policy(a_policy(settings=kept))
    decisions = [_decision(policy, number, patience[number]) for number in range(DECISIONS)]
    await store.decisions.record(decisions)
    rows = [
        an_outcome(
            decisions[number],
            head,
            source=source,
            sequence=sequence,
            value=value,
            received_at=decisions[number].at + timedelta(hours=hours),
        )
        for (number, head, source, sequence), (value, hours) in sorted(values.items())
        # What comes later is refused before it reaches the log.
        if head not in windows or hours <= windows[head].hours
    ]
    activated = [d for d, how in zip(decisions, patience, strict=True) if how == "activated"]
    steps = [activated, rows] if is_orderly else _steps(activated, rows, rng)
    held_until = {
        (decision.id, head): due
        for decision in decisions
        for head, due in decision.held_until.items()
    }
    now = NOW
    for step in steps:
        if step and isinstance(step[0], Decision):
            await store.activations.activate(step, at=now)
        else:
            await store.outcomes.append(policy.id, step, held_until=held_until)
        if not is_orderly and rng.random() < 0.5:
            now += timedelta(hours=rng.uniform(0, 8))
            fold_due(store.learning, policy, now=now, limit=rng.randint(1, 5))
    while store.posteriors.pending(policy.id):
        fold_due(store.learning, policy, now=max(now, LATER))
    schema = schema_of(policy.settings.context)
    _, cells = store.posteriors.learned(policy.id, schema.id, known={})
    positions = {arm.id: position for position, arm in enumerate(policy.arms)}
    return {
        (positions[arm_id], head): (
            held.observations,
            as_of(held.sums, LATER, Forgetting(HALF_LIFE_HOURS.get(head))).values,
        )
        for (arm_id, head), held in cells.items()
    }


def _decision(policy, number, patience):
    at = NOW - timedelta(hours=5 * number)
    return a_decision(
        policy,
        at=at,
        deadlines=deadlines_of(policy.settings.reward_windows, at),
        is_deferred=patience != "eager",
        arm=policy.arms[number % 2],
        context=[*np.random.default_rng(number).standard_normal(3), 1.0],
    )


def _steps(activated, rows, rng):
    """Batches of outcomes, repetitions among them, and activations, one by one or twice."""
    steps = _batches(rows, rng)
    for decision in [*activated, *rng.sample(activated, len(activated) // 2)]:
        steps.insert(rng.randint(0, len(steps)), [decision])
    return steps


def _batches(rows, rng):
    sent = [*rows, *rng.sample(rows, len(rows) // 2)]
    rng.shuffle(sent)
    batches = []
    while sent:
        size = rng.randint(1, 8)
        batches.append(sent[:size])
        sent = sent[size:]
    return batches


def assert_equal_up_to_rounding(actual, expected):
    assert actual.keys() == expected.keys()
    for cell, (observations, values) in expected.items():
        tolerance = 1e-9 * (1 + np.abs(values).max())
        assert actual[cell][0] == observations
        assert np.abs(actual[cell][1] - values).max() <= tolerance


@settings(max_examples=50, deadline=None)
@given(
    values=outcome_values,
    patience=patiences,
    windows=windows,
    rng=st.randoms(use_true_random=False),
)
def test_in_memory_any_order_gives_the_same_sums(values, patience, windows, rng):
    plan = (values, patience, windows, rng)
    expected = asyncio.run(learned(in_memory(), *plan, is_orderly=True))

    actual = asyncio.run(learned(in_memory(), *plan, is_orderly=False))

    assert_equal_up_to_rounding(actual, expected)


@pytest.fixture(scope="module")
def engine(module_database_url):
    engine = make_engine(module_database_url)
    yield engine
    engine.dispose()


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    values=outcome_values,
    patience=patiences,
    windows=windows,
    rng=st.randoms(use_true_random=False),
)
def test_in_postgres_any_order_gives_the_sums_of_memory(
    module_database_url, engine, values, patience, windows, rng
):
    plan = (values, patience, windows, rng)

    async def in_postgres():
        decisions = PostgresDecisionLog(module_database_url)
        outcomes = PostgresOutcomeLog(module_database_url)
        activations = PostgresActivationLog(module_database_url)
        store = Store(
            PostgresCatalog(engine),
            decisions,
            outcomes,
            PostgresPosteriors(engine),
            PostgresLearning(engine, hold_timeout_ms=20_000),
            PostgresLedger(engine),
            PostgresLedger(engine),
            activations,
        )
        try:
            return await learned(store, *plan, is_orderly=False)
        finally:
            await decisions.close()
            await outcomes.close()
            await activations.close()

    expected = asyncio.run(learned(in_memory(), *plan, is_orderly=True))

    actual = asyncio.run(in_postgres())

    assert_equal_up_to_rounding(actual, expected)
