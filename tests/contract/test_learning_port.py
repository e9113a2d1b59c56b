"""The ports `LearningStore`, `Fold` and `PosteriorReader`."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from bandit.domain.errors import Conflict
from bandit.domain.objective import Objective
from bandit.domain.policy import Detector
from bandit.learning.alarms import Alarm, Monitor
from bandit.learning.sums import Sums, packed_length
from bandit.routing.ports import StoredSums
from tests.builders import NOW, an_event, an_outcome
from tests.contract.comparing import assert_same_decision, assert_same_stored

pytestmark = pytest.mark.asyncio

SCHEMA = "schema"
LATER = NOW + timedelta(days=1)
QUALITY, COST = Objective.QUALITY, Objective.COST


def stored(version=1, *, observations=3, seed=0):
    values = np.random.default_rng(seed).standard_normal(packed_length(4))
    return StoredSums(version, observations, Sums(values=values, features=4, epoch=NOW))


def write(fold, sums, *, schema_id=SCHEMA, contributions=None, decisions=None):
    fold.write(
        schema_id=schema_id,
        sums=sums,
        contributions=contributions or {},
    )


async def with_due(store, policy, count):
    """Decisions with one outcome each, a second apart."""
    decisions = [await store.with_decision(policy) for _ in range(count)]
    for second, decision in enumerate(decisions):
        received_at = NOW + timedelta(seconds=second)
        await store.outcomes.append(policy.id, [an_outcome(decision, received_at=received_at)])
    return decisions


async def test_only_policies_with_something_due_are_named(store, policy):
    other = store.with_policy()
    await with_due(store, policy, 2)
    await with_due(store, other, 1)

    with store.learning.begin(other.id) as fold:
        due = fold.due(now=LATER, limit=10)
        fold.postpone([item.ticket for item in due], until=LATER + timedelta(seconds=10))

    assert list(store.learning.policies_with_due(now=LATER)) == [policy.id]
    then = store.learning.policies_with_due(now=LATER + timedelta(seconds=10))
    assert sorted(then) == sorted([policy.id, other.id])


async def test_the_oldest_come_first_and_no_more_than_asked_for(store, policy):
    decisions = await with_due(store, policy, 5)

    with store.learning.begin(policy.id) as fold:
        due = fold.due(now=NOW + timedelta(seconds=3), limit=3)

    assert [item.key for item in due] == [(decision.id, QUALITY) for decision in decisions[:3]]


async def test_of_one_moment_the_one_that_came_first_is_first(store, policy):
    decisions = [await store.with_decision(policy) for _ in range(20)]
    for decision in decisions:
        await store.outcomes.append(policy.id, [an_outcome(decision, received_at=NOW)])

    with store.learning.begin(policy.id) as fold:
        due = fold.due(now=NOW, limit=100)

    assert [item.key[0] for item in due] == [decision.id for decision in decisions]


async def test_what_is_settled_leaves_the_line(store, policy):
    decisions = await with_due(store, policy, 3)

    with store.learning.begin(policy.id) as fold:
        fold.settle([item.ticket for item in fold.due(now=LATER, limit=2)])

    with store.learning.begin(policy.id) as fold:
        left = fold.due(now=LATER, limit=10)
    assert [item.key[0] for item in left] == [decisions[2].id]
    assert store.posteriors.pending(policy.id) == 1


async def test_what_arrives_after_the_line_was_read_stays_in_it(store, policy):
    (decision,) = await with_due(store, policy, 1)

    with store.learning.begin(policy.id) as fold:
        seen = fold.due(now=LATER, limit=10)
        await store.outcomes.append(policy.id, [an_outcome(decision, sequence=1, value=0.1)])
        fold.settle([item.ticket for item in seen])

    with store.learning.begin(policy.id) as fold:
        left = fold.due(now=LATER, limit=10)
    assert [item.key for item in left] == [(decision.id, QUALITY)]
    assert left[0].ticket not in {item.ticket for item in seen}


async def test_what_is_postponed_is_due_again_later(store, policy):
    decisions = await with_due(store, policy, 2)

    with store.learning.begin(policy.id) as fold:
        first = fold.due(now=LATER, limit=1)
        fold.postpone([item.ticket for item in first], until=LATER + timedelta(seconds=10))

    with store.learning.begin(policy.id) as fold:
        now = [item.key[0] for item in fold.due(now=LATER, limit=10)]
        then = [item.key[0] for item in fold.due(now=LATER + timedelta(seconds=10), limit=10)]
    assert now == [decisions[1].id]
    assert then == [decisions[1].id, decisions[0].id]
    assert store.posteriors.pending(policy.id) == 2


async def test_settling_and_postponing_nothing_changes_nothing(store, policy):
    await with_due(store, policy, 1)

    with store.learning.begin(policy.id) as fold:
        fold.settle([])
        fold.postpone([], until=LATER)

    assert store.posteriors.pending(policy.id) == 1


async def test_pending_counts_each_decision_and_head_once(store, policy):
    decision = await store.with_decision(policy)
    for sequence in range(3):
        rows = [an_outcome(decision, head, sequence=sequence) for head in (QUALITY, COST)]
        await store.outcomes.append(policy.id, rows)

    assert store.posteriors.pending(policy.id) == 2


async def test_a_learner_sees_the_decisions_of_its_policy(store, policy):
    decision = await store.with_decision(policy)
    other = await store.with_decision(store.with_policy())

    with store.learning.begin(policy.id) as fold:
        found = fold.decisions([decision.id, other.id])

    assert set(found) == {decision.id}
    assert_same_decision(found[decision.id], decision)


async def test_asking_for_nothing_gives_nothing(store, policy):
    with store.learning.begin(policy.id) as fold:
        assert fold.decisions([]) == {}
        assert fold.outcomes([]) == {}
        assert fold.contributions([]) == {}
        assert fold.sums(SCHEMA, []) == {}


async def test_sums_come_back_as_they_were_written(store, policy):
    cell, other = (policy.arms[0].id, QUALITY), (policy.arms[1].id, COST)
    with store.learning.begin(policy.id) as fold:
        write(fold, {cell: stored(seed=1), other: stored(seed=2)})

    with store.learning.begin(policy.id) as fold:
        write(fold, {cell: stored(2, observations=4, seed=3)})

    with store.learning.begin(policy.id) as fold:
        held = fold.sums(SCHEMA, [cell, other, (policy.arms[0].id, COST)])
    assert set(held) == {cell, other}
    assert_same_stored(held[cell], stored(2, observations=4, seed=3))
    assert_same_stored(held[other], stored(seed=2))


async def test_sums_of_another_schema_are_apart(store, policy):
    cell = (policy.arms[0].id, QUALITY)
    with store.learning.begin(policy.id) as fold:
        write(fold, {cell: stored(seed=1)})
        write(fold, {cell: stored(seed=2)}, schema_id="another")

    assert_same_stored(
        store.posteriors.learned(policy.id, "another", known={})[1][cell], stored(seed=2)
    )


@pytest.mark.parametrize("version", [1, 3])
async def test_sums_that_moved_on_are_a_conflict_and_nothing_is_written(store, policy, version):
    cell, other = (policy.arms[0].id, QUALITY), (policy.arms[1].id, QUALITY)
    with store.learning.begin(policy.id) as fold:
        write(fold, {cell: stored(seed=1)})

    with pytest.raises(Conflict), store.learning.begin(policy.id) as fold:
        write(fold, {other: stored(seed=2), cell: stored(version, seed=3)})

    held = store.posteriors.learned(policy.id, SCHEMA, known={})[1]
    assert set(held) == {cell}
    assert_same_stored(held[cell], stored(seed=1))


async def test_a_first_version_is_not_skipped(store, policy):
    with pytest.raises(Conflict), store.learning.begin(policy.id) as fold:
        write(fold, {(policy.arms[0].id, QUALITY): stored(2)})


async def test_contributions_are_replaced_by_their_successors(store, policy):
    first, second = await store.with_decision(policy), await store.with_decision(policy)
    keys = [(first.id, QUALITY), (first.id, COST), (second.id, QUALITY)]
    with store.learning.begin(policy.id) as fold:
        write(fold, {}, contributions={keys[0]: 0.1, keys[1]: 2})

    with store.learning.begin(policy.id) as fold:
        write(fold, {}, contributions={keys[0]: 1 / 3, keys[2]: 0.7})

    with store.learning.begin(policy.id) as fold:
        assert fold.contributions(keys[:2]) == {keys[0]: 1 / 3, keys[1]: 2.0}
        assert fold.contributions(keys[2:]) == {keys[2]: 0.7}
        assert fold.contributions([(second.id, COST)]) == {}


async def test_sums_come_with_the_alarms_of_their_cell(store, policy):
    cell, other = (policy.arms[0].id, QUALITY), (policy.arms[0].id, COST)
    alarms = (Alarm(NOW, 0.5), Alarm(LATER, 0.02, 1.5))
    event = an_event("drift_alarm")
    with store.learning.begin(policy.id) as fold:
        write(fold, {cell: replace(stored(), alarms=alarms)})
        fold.raise_alarm(other, Alarm(NOW), event)
        for alarm in alarms:
            fold.raise_alarm(cell, alarm, event)

    with store.learning.begin(policy.id) as fold:
        (held,) = fold.sums(SCHEMA, [cell]).values()
    (read,) = store.posteriors.learned(policy.id, SCHEMA, known={})[1].values()
    assert held.alarms == read.alarms == alarms


async def test_a_watch_goes_on_where_it_stopped(store, policy):
    cell, other = (policy.arms[0].id, QUALITY), (policy.arms[1].id, COST)
    second = Monitor(LATER, Detector.ADWIN, NOW, (1 / 3, -2.5, 0.0), 3)
    with store.learning.begin(policy.id) as fold:
        fold.watch({cell: Monitor(NOW, Detector.CUSUM), other: Monitor(NOW, Detector.OFF)})
    with store.learning.begin(policy.id) as fold:
        fold.watch({cell: second})
        fold.watch({})

    with store.learning.begin(policy.id) as fold:
        held = fold.monitors([cell, other, (policy.arms[0].id, COST)])
    assert held == {cell: second, other: Monitor(NOW, Detector.OFF)}


async def test_alarms_come_with_the_monitor_in_order_of_time(store, policy):
    cell, other = (policy.arms[0].id, QUALITY), (policy.arms[0].id, COST)
    elsewhere = store.with_policy()
    later, earlier = Alarm(LATER, 0.5), Alarm(NOW, 0.02)
    with store.learning.begin(policy.id) as fold:
        fold.watch({cell: Monitor(LATER, Detector.CUSUM), other: Monitor(NOW, Detector.CUSUM)})
        fold.raise_alarm(cell, later, an_event("drift_alarm"))
    with store.learning.begin(policy.id) as fold:
        fold.raise_alarm(cell, earlier, an_event("drift_alarm"))
    with store.learning.begin(elsewhere.id) as fold:
        fold.watch({cell: Monitor(NOW, Detector.CUSUM)})

    with store.learning.begin(policy.id) as fold:
        held = fold.monitors([cell, other])
    with store.learning.begin(elsewhere.id) as fold:
        (apart,) = fold.monitors([cell]).values()
    assert held[cell].alarms == (earlier, later)
    assert held[other].alarms == ()
    assert apart.alarms == ()


async def test_a_watch_that_fails_leaves_no_trace(store, policy):
    cell = (policy.arms[0].id, QUALITY)

    with pytest.raises(ZeroDivisionError), store.learning.begin(policy.id) as fold:  # noqa: PT012 - one transaction
        fold.watch({cell: Monitor(NOW, Detector.CUSUM)})
        fold.raise_alarm(cell, Alarm(NOW), an_event("drift_alarm"))
        raise ZeroDivisionError

    with store.learning.begin(policy.id) as fold:
        assert fold.monitors([cell]) == {}
        fold.raise_alarm(cell, Alarm(NOW), an_event("drift_alarm"))  # not there already


async def test_a_second_learner_stands_by(store, policy):
    other = store.with_policy()

    with store.learning.begin(policy.id) as first:
        with store.learning.begin(policy.id) as second:
            assert second is None
        with store.learning.begin(other.id) as elsewhere:
            assert elsewhere is not None
        assert first is not None

    with store.learning.begin(policy.id) as third:
        assert third is not None


async def test_a_learner_that_fails_leaves_no_trace(store, policy):
    (decision,) = await with_due(store, policy, 1)
    key, cell = (decision.id, QUALITY), (policy.arms[0].id, QUALITY)

    with pytest.raises(ZeroDivisionError), store.learning.begin(policy.id) as fold:  # noqa: PT012 - one transaction
        write(fold, {cell: stored()}, contributions={key: 0.5})
        fold.settle([item.ticket for item in fold.due(now=LATER, limit=1)])
        fold.advance()
        raise ZeroDivisionError

    assert store.posteriors.learned(policy.id, SCHEMA, known={}) == (0, {})
    with store.learning.begin(policy.id) as fold:
        assert fold.contributions([key]) == {}
        assert [item.key for item in fold.due(now=LATER, limit=1)] == [key]


async def test_the_learned_version_grows_by_one(store, policy):
    versions = []
    for _ in range(3):
        with store.learning.begin(policy.id) as fold:
            versions.append(fold.advance())

    assert versions == [1, 2, 3]
    assert store.posteriors.learned(policy.id, SCHEMA, known={}) == (3, {})
    assert store.catalog.versions()[policy.id].learned == 3


async def test_a_router_reads_only_what_it_does_not_know(store, policy):
    same, newer, unknown = ((arm.id, head) for arm, head in [(policy.arms[0], QUALITY),
                            (policy.arms[0], COST), (policy.arms[1], QUALITY)])  # fmt: skip
    with store.learning.begin(policy.id) as fold:
        write(fold, {same: stored(seed=1), newer: stored(seed=2), unknown: stored(seed=3)})
    with store.learning.begin(policy.id) as fold:
        write(fold, {newer: stored(2, seed=4)})
        fold.advance()

    version, changed = store.posteriors.learned(policy.id, SCHEMA, known={same: 1, newer: 1})

    assert version == 1
    assert set(changed) == {newer, unknown}
    assert_same_stored(changed[newer], stored(2, seed=4))
