"""What falls due by itself, and what waits to be activated: in both stores."""

import asyncio
from datetime import timedelta

import psycopg
import pytest
from psycopg import errors as postgres

from bandit.domain.objective import HEADS, Objective
from bandit.domain.policy import PolicySettings
from bandit.domain.reward_window import RewardWindow, deadlines_of
from bandit.features.schema import schema_of
from bandit.routing.learner import fold_due
from bandit.store.postgres.activations import PostgresActivationLog
from bandit.store.postgres.catalog import PostgresCatalog
from bandit.store.postgres.decisions import PostgresDecisionLog
from bandit.store.postgres.engine import make_engine
from tests.builders import A_CONTEXT, NOW, a_decision, a_policy, an_event, an_outcome
from tests.contract.comparing import assert_same_decision

pytestmark = pytest.mark.asyncio

QUALITY, COST, LATENCY = Objective
WINDOWS = {QUALITY: RewardWindow(24, 0.25), COST: RewardWindow(2)}
DEADLINES = deadlines_of(WINDOWS, NOW)
DUE = NOW + timedelta(hours=24)
A_MOMENT = timedelta(microseconds=1)


@pytest.fixture
def policy(store):
    settings = PolicySettings(context=A_CONTEXT, reward_windows=WINDOWS)
    return store.with_policy(a_policy(settings=settings))


@pytest.fixture
def own_url(new_database, template):
    with new_database(template) as url:
        yield url


def due(store, policy, now):
    with store.learning.begin(policy.id) as fold:
        return [item.key for item in fold.due(now=now, limit=100)]


async def made(store, policy, **changes):
    return await store.with_decision(policy, deadlines=DEADLINES, **changes)


def values_of(store, policy, decision):
    """What each head of a decision has taught."""
    with store.learning.begin(policy.id) as fold:
        found = fold.contributions([(decision.id, head) for head in HEADS])
    return {head: value for (_, head), value in found.items()}


def fold(store, policy, now):
    while fold_due(store.learning, policy, now=now).settled:
        pass


async def told(store, policy, decision, head=QUALITY, *, after=timedelta(0), **changes):
    """Append an outcome, as `Feedback` does."""
    row = an_outcome(decision, head, received_at=decision.at + after, **changes)
    held = {(decision.id, o): moment for o, moment in decision.held_until.items()}
    await store.outcomes.append(policy.id, [row], held_until=held)


async def test_windows_and_deferral_come_back_as_they_were_stamped(store, policy):
    decision = await made(store, policy, is_deferred=True)

    (again,) = await store.decisions.record([decision])

    assert again.replayed
    assert_same_decision(again.decision, decision)
    assert dict(again.decision.deadlines) == dict(DEADLINES)


async def test_a_head_with_a_default_falls_due_with_its_window_and_no_other_does(store, policy):
    decision = await made(store, policy)

    assert due(store, policy, DUE - A_MOMENT) == []
    assert due(store, policy, DUE) == [(decision.id, QUALITY)]


async def test_a_repeated_decision_falls_due_once(store, policy):
    decision = await made(store, policy)
    await store.decisions.record([decision, decision])

    assert due(store, policy, DUE) == [(decision.id, QUALITY)]


async def test_without_an_outcome_the_default_counts_at_the_close_and_never_before(store, policy):
    decision = await made(store, policy)

    fold(store, policy, DUE - A_MOMENT)
    before = values_of(store, policy, decision)
    fold(store, policy, DUE)

    assert before == {}
    assert values_of(store, policy, decision) == {QUALITY: 0.25}


async def test_an_outcome_that_came_in_time_counts_at_the_close_in_place_of_the_default(
    store, policy
):
    decision = await made(store, policy)
    await told(store, policy, decision, value=0.75)

    fold(store, policy, DUE - A_MOMENT)
    before = values_of(store, policy, decision)
    fold(store, policy, DUE)

    assert before == {}
    assert values_of(store, policy, decision) == {QUALITY: 0.75}


async def test_an_outcome_received_in_time_and_stored_late_replaces_the_default(store, policy):
    """The router that took it was slow to commit, or the learner's clock is ahead."""
    decision = await made(store, policy)
    fold(store, policy, DUE)

    await told(store, policy, decision, value=0.75, after=timedelta(hours=24))
    fold(store, policy, DUE)

    assert values_of(store, policy, decision) == {QUALITY: 0.75}
    schema_id = schema_of(A_CONTEXT).id
    _, cells = store.posteriors.learned(policy.id, schema_id, known={})
    assert [cell.observations for cell in cells.values()] == [1]


async def test_without_a_default_outcomes_count_at_once_and_late_ones_not(store, policy):
    decision = await made(store, policy)
    await told(store, policy, decision, COST, value=0.01, after=timedelta(hours=2))
    await told(store, policy, decision, COST, value=9.0, sequence=1, after=timedelta(hours=3))

    fold(store, policy, NOW + timedelta(hours=3))

    assert values_of(store, policy, decision) == {COST: 0.01}


async def test_the_mean_of_the_sources_counts(store, policy):
    decision = await made(store, policy)
    await told(store, policy, decision, value=0.2, source="judge")
    await told(store, policy, decision, value=0.4, source="judge", sequence=1)
    await told(store, policy, decision, value=1.0, source="user")
    await told(store, policy, decision, value=0.0, source="slow", after=timedelta(hours=25))

    fold(store, policy, DUE)

    assert values_of(store, policy, decision) == {QUALITY: pytest.approx((0.4 + 1.0) / 2)}


async def test_what_waits_for_its_window_is_not_pending_until_it_closes(store, policy):
    decision = await made(store, policy)
    await told(store, policy, decision)
    await told(store, policy, decision, COST)

    assert store.posteriors.pending(policy.id, now=DUE - A_MOMENT) == 1
    assert store.posteriors.pending(policy.id, now=DUE) == 2
    assert store.posteriors.pending(policy.id) == 2


async def test_what_a_learner_put_off_is_pending_though_it_is_due_later(store, policy):
    decision = await made(store, policy)
    await told(store, policy, decision, COST)
    with store.learning.begin(policy.id) as transaction:
        tickets = [item.ticket for item in transaction.due(now=DUE, limit=10)]
        transaction.postpone(tickets, until=DUE + timedelta(hours=1))

    assert store.posteriors.pending(policy.id, now=DUE) == 2


async def test_a_deferred_decision_teaches_nothing_and_keeps_its_outcomes(store, policy):
    decision = await made(store, policy, is_deferred=True)
    for head in HEADS:
        await told(store, policy, decision, head, value=0.5)

    fold(store, policy, DUE)

    assert values_of(store, policy, decision) == {}
    with store.learning.begin(policy.id) as transaction:
        keys = [(decision.id, head) for head in HEADS]
        assert all(len(rows) == 1 for rows in transaction.outcomes(keys).values())


async def test_once_activated_it_teaches_what_came_before_and_after(store, policy):
    decision = await made(store, policy, is_deferred=True)
    await told(store, policy, decision, LATENCY, value=700.0)
    fold(store, policy, NOW)

    (is_new,) = await store.activations.activate([decision], at=NOW + timedelta(hours=1))
    await told(store, policy, decision, COST, value=0.01)
    fold(store, policy, NOW)
    at_once = values_of(store, policy, decision)
    fold(store, policy, DUE)

    assert is_new
    assert at_once == {COST: 0.01, LATENCY: 700.0}
    assert values_of(store, policy, decision) == {QUALITY: 0.25, COST: 0.01, LATENCY: 700.0}


async def test_activated_after_its_windows_it_teaches_what_came_in_time(store, policy):
    one, other = [await made(store, policy, is_deferred=True) for _ in range(2)]
    await told(store, policy, one, value=0.75, after=timedelta(hours=24))
    await told(store, policy, one, value=0.0, sequence=1, after=timedelta(hours=25))
    fold(store, policy, DUE + timedelta(days=1))

    await store.activations.activate([one, other], at=DUE + timedelta(days=2))
    fold(store, policy, DUE + timedelta(days=2))

    assert values_of(store, policy, one) == {QUALITY: 0.75}
    assert values_of(store, policy, other) == {QUALITY: 0.25}


async def test_an_activation_is_remembered_with_its_moment(store, policy):
    decision = await made(store, policy, is_deferred=True)
    at = NOW + timedelta(minutes=5)

    await store.activations.activate([decision], at=at)
    again = await store.activations.activate([decision], at=at + timedelta(minutes=1))

    stored = (await store.decisions.find(policy.id, [decision.id]))[decision.id]
    assert again == [False]
    assert stored.is_active
    assert stored.activated_at == at


async def test_a_decision_that_was_never_deferred_is_active_already(store, policy):
    decision = await made(store, policy)

    assert await store.activations.activate([decision], at=NOW) == [False]
    assert due(store, policy, DUE) == [(decision.id, QUALITY)]


async def test_of_fifty_activations_at_once_one_is_the_first(store, policy):
    one, other = [await made(store, policy, is_deferred=True) for _ in range(2)]

    answers = await asyncio.gather(
        *(
            store.activations.activate([one, other] if n % 2 else [other, one], at=NOW)
            for n in range(50)
        )
    )

    assert sum(answer[0] for answer in answers) + sum(answer[1] for answer in answers) == 2
    assert len(due(store, policy, DUE)) == 2 * len(HEADS)


async def test_an_outcome_committed_while_its_decision_is_activated_is_not_lost(store, policy):
    """
    The worst order: the learner passes over the outcome's key before the activation is committed,
    and the activation does not see the outcome.  So it marks every head, whatever it sees.
    """
    decision = await made(store, policy, is_deferred=True)
    await told(store, policy, decision, LATENCY, value=700.0)
    fold(store, policy, NOW)

    await store.activations.activate([decision], at=NOW)

    assert sorted(due(store, policy, DUE)) == [(decision.id, head) for head in HEADS]


@pytest.mark.parametrize("is_deferred", [False, True])
async def test_what_falls_due_is_stored_with_its_cause_or_neither_is(own_url, is_deferred):
    """The line takes nothing: so no decision with a default is stored, and none is activated."""
    engine = make_engine(own_url)
    policy = a_policy()
    PostgresCatalog(engine).create(policy, an_event())
    engine.dispose()
    decisions, activations = PostgresDecisionLog(own_url), PostgresActivationLog(own_url)
    decision = a_decision(policy, deadlines=DEADLINES, is_deferred=is_deferred)
    if is_deferred:
        await decisions.record([decision])
    with psycopg.connect(own_url, autocommit=True) as connection:
        connection.execute("alter table dirty_key add constraint jammed check (head > 2)")

    plain = a_decision(policy)
    if is_deferred:
        with pytest.raises(postgres.CheckViolation):
            await activations.activate([decision], at=NOW)
    else:
        answers = await decisions.record([decision, plain])
        assert isinstance(answers[0], postgres.CheckViolation)
        assert not answers[1].replayed
    found = await decisions.find(policy.id, [decision.id, plain.id])
    await decisions.close()
    await activations.close()

    if is_deferred:
        assert not found[decision.id].is_active
    else:
        assert list(found) == [plain.id]
