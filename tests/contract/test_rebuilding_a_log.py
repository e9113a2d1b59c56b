"""The state made anew from the log, in both stores: the same, without a source, as it was once."""

import random
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bandit.domain.budget import Budget
from bandit.domain.errors import InvalidInput, UnknownSnapshot
from bandit.domain.objective import Objective
from bandit.domain.policy import Detector, DriftSettings, PolicySettings
from bandit.features.schema import schema_of
from bandit.learning.decay import Forgetting, as_of
from bandit.routing.learner import fold_due
from bandit.routing.rebuild_rules import Asked
from bandit.routing.rebuilding import rebuild
from tests.builders import (
    A_CONTEXT,
    NOW,
    a_charge,
    a_decision,
    a_policy,
    an_outcome,
)
from tests.drifting import (
    drifting_decisions,
    drifting_outcomes,
    latest_values,
    sums_from_the_log,
)

pytestmark = pytest.mark.asyncio

SCHEMA = schema_of(A_CONTEXT)
QUALITY, COST = Objective.QUALITY, Objective.COST
LATER = NOW + timedelta(days=1)
OFF = DriftSettings(Detector.OFF, Detector.OFF, Detector.OFF)


def a_watched_policy(store, drift=None):
    kept = PolicySettings(context=A_CONTEXT, drift=drift or DriftSettings())
    return store.with_policy(a_policy(settings=kept))


async def told(store, policy, rows, rng, *, batch=40):
    """The rows come in a few at a time, and are folded as the learner gets to it."""
    rows = list(rows)
    for start in range(0, len(rows), batch):
        sent = rows[start : start + batch]
        await store.outcomes.append(policy.id, sent)
        now = max(row.received_at for row in sent)
        fold_due(store.learning, policy, now=now, limit=rng.randint(5, 60))
    fold_all(store, policy)


def fold_all(store, policy, now=LATER):
    while store.posteriors.pending(policy.id):
        fold_due(store.learning, policy, now=now)


def cells_of(store, policy):
    return store.posteriors.learned(policy.id, SCHEMA.id, known={})[1]


def alarms_of(store, policy):
    with store.rebuilds.begin_rebuild(policy.id, is_promotion=False) as log:
        return dict(log.alarms())


def current(held, now=LATER):
    return as_of(held.sums, now, Forgetting(None, held.alarms)).values


def assert_sums(store, policy, expected):
    """The stored sums are these, to rounding; (arm, head) to values as of LATER."""
    stored = cells_of(store, policy)
    assert {cell for cell, held in stored.items() if held.observations} == set(expected)
    for cell, wanted in expected.items():
        tolerance = 1e-9 * (1 + np.abs(wanted).max())
        assert_allclose(current(stored[cell]), wanted, rtol=0, atol=tolerance)


def assert_same_as_live(result):
    for compared in result.cells:
        assert compared.before.observations == compared.after.observations
        assert compared.difference <= 1e-9 * (1 + compared.scale)
        assert compared.before.mean == pytest.approx(compared.after.mean, rel=1e-9)
        assert compared.lost == 0


async def test_a_rebuild_of_a_healthy_policy_gives_what_is_served(store):
    rng = random.Random(3)
    policy = a_watched_policy(store)
    decisions = drifting_decisions(policy, rng)
    await store.decisions.record(decisions)
    await told(store, policy, drifting_outcomes(decisions, rng, delay=10.0), rng)
    alarms = alarms_of(store, policy)
    before = cells_of(store, policy)

    shown = rebuild(store.rebuilds, policy, Asked(), now=LATER, who="ann")
    assert cells_of(store, policy).keys() == before.keys()
    assert all(held.version == before[c].version for c, held in cells_of(store, policy).items())
    promoted = rebuild(store.rebuilds, policy, Asked(promote=True), now=LATER, who="ann")

    assert sum(map(len, alarms.values())) >= 2
    for result in (shown, promoted):
        assert len(result.cells) == 4
        assert_same_as_live(result)
        assert (result.changed, result.rows_left_out, result.misfits) == (0, 0, ())
    assert shown.learned_version is None
    assert promoted.learned_version == store.catalog.versions()[policy.id].learned
    after = cells_of(store, policy)
    assert all(after[cell].version == held.version + 1 for cell, held in before.items())
    assert alarms_of(store, policy) == alarms


async def test_what_waits_in_line_is_in_a_rebuild_and_counted_once(store):
    policy = a_watched_policy(store, OFF)
    decisions = [await store.with_decision(policy) for _ in range(5)]
    await store.outcomes.append(policy.id, [an_outcome(decision) for decision in decisions])

    result = rebuild(store.rebuilds, policy, Asked(promote=True), now=LATER, who="ann")
    fold_all(store, policy)

    assert (result.values, result.changed) == (5, 5)
    (held,) = cells_of(store, policy).values()
    assert (held.observations, held.sums.weight) == (5, 5.0)


def poisoned(rows, rng, *, share=0.2):
    """The rows, and among them those of a liar about a share of the decisions."""
    lies, together = [], []
    for row in rows:
        together.append(row)
        if row.objective is QUALITY and row.sequence == 0 and rng.random() < share:
            lies.append(replace(row, source="liar", value=1.0 - row.value))
            together.append(lies[-1])
    return together, lies


async def test_without_a_poisoned_source_the_state_is_that_of_a_world_without_it(store):
    rng = random.Random(5)
    policy = a_watched_policy(store)
    decisions = drifting_decisions(policy, rng)
    await store.decisions.record(decisions)
    rows = drifting_outcomes(decisions, rng, delay=5.0)
    sent, lies = poisoned(rows, rng)
    await told(store, policy, sent, rng)

    asked = Asked(without_sources=("liar",), promote=True)
    result = rebuild(store.rebuilds, policy, asked, now=LATER, who="ann")

    assert len(lies) > 30
    assert result.rows_left_out == len(lies)
    first_lie = min(row.received_at for row in lies)
    kept = alarms_of(store, policy)
    assert all(alarm.raised_at < first_lie for cell in kept.values() for alarm in cell)
    values = latest_values(rows)
    assert_sums(store, policy, sums_from_the_log(decisions, values, kept, now=LATER))

    # A correction, another source, and a new outcome: the lies about the same decisions stay out.
    lied_about = [row for row in lies if row.received_at > first_lie][:3]
    news = [
        replace(lied_about[0], source="default", sequence=9, value=0.33),
        replace(lied_about[1], source="critic", value=values[lied_about[1].decision_id, QUALITY]),
    ]
    await store.outcomes.append(policy.id, [replace(row, received_at=LATER) for row in news])
    fold_all(store, policy)
    values[lied_about[0].decision_id, QUALITY] = 0.33
    assert_sums(store, policy, sums_from_the_log(decisions, values, kept, now=LATER))
    assert_same_as_live(rebuild(store.rebuilds, policy, Asked(), now=LATER, who="ann"))


async def test_what_only_an_excluded_source_said_is_as_if_never_said(store):
    policy = a_watched_policy(store, OFF)
    lied, other = await store.with_decision(policy), await store.with_decision(policy)
    rows = [an_outcome(lied, source="liar"), an_outcome(other, source="judge", value=0.5)]
    await store.outcomes.append(policy.id, rows)
    fold_all(store, policy)

    asked = Asked(without_sources=("liar",), promote=True)
    rebuild(store.rebuilds, policy, asked, now=LATER, who="ann")

    (held,) = cells_of(store, policy).values()
    assert (held.observations, held.sums.weight) == (1, 1.0)
    # What the source says afterwards counts again, beside what others say.
    later = LATER + timedelta(minutes=1)
    await store.outcomes.append(
        policy.id, [an_outcome(lied, source="liar", sequence=1, value=0.25, received_at=later)]
    )
    fold_all(store, policy, now=later)
    (held,) = cells_of(store, policy).values()
    assert held.observations == 2
    assert held.sums.moment[-1] == pytest.approx((0.5 - 0.9) + (0.25 - 0.9))


async def test_until_a_moment_what_came_later_does_not_count_and_what_comes_then_does(store):
    rng = random.Random(8)
    policy = a_watched_policy(store, OFF)
    decisions = drifting_decisions(policy, rng)
    await store.decisions.record(decisions)
    rows = drifting_outcomes(decisions, rng, delay=5.0)
    await told(store, policy, rows, rng)
    until = NOW + timedelta(minutes=100)
    early = [row for row in rows if row.received_at <= until]

    asked = Asked(until=until, promote=True)
    result = rebuild(store.rebuilds, policy, asked, now=LATER, who="ann")

    values = latest_values(early)
    assert 0 < len(early) < len(rows)
    assert result.rows_left_out > 200
    assert_sums(store, policy, sums_from_the_log(decisions, values, {}, now=LATER))

    late = next(row for row in rows if row.received_at > until)
    news = replace(late, sequence=20, value=0.4, received_at=LATER + timedelta(minutes=1))
    await store.outcomes.append(policy.id, [news])
    fold_all(store, policy, now=news.received_at)
    values[late.decision_id, late.objective] = 0.4
    assert_sums(store, policy, sums_from_the_log(decisions, values, {}, now=LATER))


async def test_after_a_rollback_the_state_is_the_fold_of_the_log_without_the_interval(store):
    rng = random.Random(11)
    policy = a_watched_policy(store)
    decisions = drifting_decisions(policy, rng)
    await store.decisions.record(decisions)
    rows = sorted(drifting_outcomes(decisions, rng, delay=0.0), key=lambda row: row.received_at)
    half = rows[: len(rows) // 2]
    at = max(row.received_at for row in half)
    rest = [row for row in rows if row.received_at > at]
    await told(store, policy, [row for row in rows if row.received_at <= at], rng)
    snapshot = store.history.keep_scheduled(policy.id, now=at, every=timedelta(hours=1))
    then, alarms_then = cells_of(store, policy), alarms_of(store, policy)
    await told(store, policy, rest, rng)
    assert sum(map(len, alarms_of(store, policy).values())) > sum(map(len, alarms_then.values()))

    asked = Asked(snapshot_id=snapshot, promote=True)
    result = rebuild(store.rebuilds, policy, asked, now=LATER, who="ann")

    assert alarms_of(store, policy) == alarms_then
    assert result.alarms_left_out
    for compared in result.against_snapshot:
        assert compared.difference <= 1e-9 * (1 + compared.scale)
        assert compared.before.observations == compared.after.observations
    assert_sums(store, policy, {cell: current(held) for cell, held in then.items()})
    news = [
        an_outcome(decision, value=0.5, sequence=30, received_at=LATER + timedelta(minutes=1))
        for decision in decisions[-10:]
    ]
    await store.outcomes.append(policy.id, news)
    fold_all(store, policy, now=news[0].received_at)
    values = latest_values([row for row in rows if row.received_at <= at])
    values |= latest_values(news)
    assert_sums(store, policy, sums_from_the_log(decisions, values, alarms_then, now=LATER))


async def test_a_rebuild_can_be_taken_back_by_a_rollback_to_the_snapshot_before_it(store):
    rng = random.Random(13)
    policy = a_watched_policy(store)
    decisions = drifting_decisions(policy, rng)
    await store.decisions.record(decisions)
    sent, _ = poisoned(drifting_outcomes(decisions, rng, delay=5.0), rng)
    await told(store, policy, sent, rng)
    before, alarms = cells_of(store, policy), alarms_of(store, policy)
    asked = Asked(without_sources=("liar",), promote=True)
    mistaken = rebuild(store.rebuilds, policy, asked, now=LATER, who="ann")
    assert mistaken.changed
    assert mistaken.alarms_left_out

    back = Asked(snapshot_id=mistaken.kept, promote=True)
    rebuild(store.rebuilds, policy, back, now=LATER + timedelta(minutes=1), who="ann")

    assert alarms_of(store, policy) == alarms
    assert_sums(store, policy, {cell: current(held) for cell, held in before.items()})
    with store.learning.begin(policy.id) as fold:
        assert not [each for each in fold.exclusions() if each.source == "liar"]


async def test_money_that_an_excluded_source_reported_was_not_spent(store):
    """The account is a fold of the log, too: it stands as if the source had never spoken."""
    policy = a_policy(settings=PolicySettings(context=A_CONTEXT, drift=OFF))
    policy = store.with_policy(
        replace(policy, budget=Budget(target_usd=0.002), budget_epoch=2, version=2)
    )
    charge = a_charge(epoch=2, expected_usd=0.001)
    decisions = [a_decision(policy, charge=charge) for _ in range(3)]
    await store.decisions.record(decisions)
    lie, truth, both = decisions
    rows = [
        an_outcome(lie, COST, value=5.0, source="liar"),
        an_outcome(truth, COST, value=0.003),
        an_outcome(both, COST, value=0.003),
        an_outcome(both, COST, value=7.0, source="liar"),
    ]
    await store.outcomes.append(policy.id, rows)
    fold_all(store, policy)
    asked = Asked(without_sources=("liar",), promote=True)
    rebuild(store.rebuilds, policy, asked, now=LATER, who="ann")

    account = store.accounts.account(policy.id, 2)

    assert account.spent_usd == pytest.approx(2 * (0.003 - 0.001))
    later = LATER + timedelta(minutes=1)
    await store.outcomes.append(policy.id, [an_outcome(lie, COST, value=0.002, received_at=later)])
    fold_all(store, policy, now=later)
    account = store.accounts.account(policy.id, 2)
    assert account.spent_usd == pytest.approx(2 * (0.003 - 0.001) + (0.002 - 0.001))


async def test_what_makes_no_sense_is_refused_and_changes_nothing(store, policy):
    decision = await store.with_decision(policy)
    await store.outcomes.append(policy.id, [an_outcome(decision, source="judge")])
    fold_all(store, policy)
    before = store.catalog.versions()[policy.id]

    for asked, error in (
        (Asked(without_sources=("nobody",), promote=True), InvalidInput),
        (Asked(until=LATER + timedelta(days=1), promote=True), InvalidInput),
        (Asked(snapshot_id=77, promote=True), UnknownSnapshot),
        (Asked(snapshot_id=1, without_sources=("judge",), promote=True), InvalidInput),
    ):
        with pytest.raises(error):
            rebuild(store.rebuilds, policy, asked, now=LATER, who="ann")

    assert store.catalog.versions()[policy.id] == before
