"""The port `OutcomeLog`."""

import asyncio
from datetime import timedelta

import pytest

from bandit.domain.objective import Objective
from bandit.domain.outcome import GREATEST_SEQUENCE, Disposition
from tests.builders import NOW, an_outcome

pytestmark = pytest.mark.asyncio

ACCEPTED, DUPLICATE = Disposition.ACCEPTED, Disposition.DUPLICATE
CORRECTED, IGNORED = Disposition.CORRECTED, Disposition.IGNORED
LATER = NOW + timedelta(days=1)


def logged(store, policy, *keys):
    with store.learning.begin(policy.id) as fold:
        return fold.outcomes(keys)


def due(store, policy):
    with store.learning.begin(policy.id) as fold:
        return [item.key for item in fold.due(now=LATER, limit=100)]


async def test_an_outcome_comes_back_as_it_was_appended(store, policy):
    decision = await store.with_decision(policy)
    rows = [
        an_outcome(decision, value=1, source="käufer", sequence=GREATEST_SEQUENCE),
        an_outcome(decision, source="judge"),
    ]

    dispositions = await store.outcomes.append(policy.id, rows)

    key = (decision.id, Objective.QUALITY)
    assert list(dispositions) == [ACCEPTED, ACCEPTED]
    assert sorted(logged(store, policy, key)[key], key=lambda row: row.source) == rows[::-1]


async def test_a_key_without_outcomes_has_none(store, policy):
    decision = await store.with_decision(policy)
    key = (decision.id, Objective.COST)
    await store.outcomes.append(policy.id, [an_outcome(decision, Objective.QUALITY)])

    assert logged(store, policy, key) == {key: []}


async def test_the_same_sequence_again_is_a_duplicate_and_the_first_value_stays(store, policy):
    decision = await store.with_decision(policy)
    await store.outcomes.append(policy.id, [an_outcome(decision, value=0.25)])

    dispositions = await store.outcomes.append(policy.id, [an_outcome(decision, value=0.75)])

    key = (decision.id, Objective.QUALITY)
    assert list(dispositions) == [DUPLICATE]
    assert [row.value for row in logged(store, policy, key)[key]] == [0.25]


async def test_a_higher_sequence_corrects_and_a_lower_one_is_superseded(store, policy):
    decision = await store.with_decision(policy)
    dispositions = []

    for sequence in (5, 7, 6, 7, 5):
        row = an_outcome(decision, sequence=sequence)
        dispositions += await store.outcomes.append(policy.id, [row])

    key = (decision.id, Objective.QUALITY)
    assert dispositions == [ACCEPTED, CORRECTED, IGNORED, DUPLICATE, DUPLICATE]
    assert sorted(row.sequence for row in logged(store, policy, key)[key]) == [5, 7]


async def test_each_row_of_a_call_sees_those_before_it(store, policy):
    decision = await store.with_decision(policy)
    rows = [an_outcome(decision, sequence=sequence) for sequence in (5, 7, 6, 7)]

    dispositions = await store.outcomes.append(policy.id, rows)

    assert list(dispositions) == [ACCEPTED, CORRECTED, IGNORED, DUPLICATE]


async def test_heads_sources_decisions_and_policies_are_apart(store, policy):
    other = store.with_policy()
    one, two = await store.with_decision(policy), await store.with_decision(policy)
    twin = await store.with_decision(other, id=one.id)

    rows = [
        an_outcome(one),
        an_outcome(one, Objective.COST),
        an_outcome(one, source="judge"),
        an_outcome(two),
    ]

    assert set(await store.outcomes.append(policy.id, rows)) == {ACCEPTED}
    assert list(await store.outcomes.append(other.id, [an_outcome(twin)])) == [ACCEPTED]


async def test_what_changed_is_due_as_soon_as_it_was_received_and_nothing_else(store, policy):
    decision = await store.with_decision(policy)
    await store.with_decision(policy)
    received_at = NOW + timedelta(minutes=1)
    await store.outcomes.append(policy.id, [an_outcome(decision, received_at=received_at)])

    with store.learning.begin(policy.id) as fold:
        due = fold.due(now=received_at, limit=10)

    assert [item.key for item in due] == [(decision.id, Objective.QUALITY)]


async def test_a_duplicate_makes_nothing_due(store, policy):
    decision = await store.with_decision(policy)
    rows = [an_outcome(decision, sequence=2)]
    await store.outcomes.append(policy.id, rows)
    with store.learning.begin(policy.id) as fold:
        fold.settle([item.ticket for item in fold.due(now=LATER, limit=10)])

    await store.outcomes.append(policy.id, [*rows, an_outcome(decision, sequence=1)])

    assert due(store, policy) == []


async def test_a_dry_run_answers_the_same_and_changes_nothing(store, policy):
    decision = await store.with_decision(policy)
    rows = [an_outcome(decision, sequence=sequence) for sequence in (5, 7, 6, 7)]

    rehearsed = await store.outcomes.append(policy.id, rows, dry_run=True)

    assert due(store, policy) == []
    assert list(rehearsed) == list(await store.outcomes.append(policy.id, rows))


async def test_a_dry_run_beside_real_calls_changes_nothing_either(store, policy):
    decision = await store.with_decision(policy)
    row = an_outcome(decision)

    answers = await asyncio.gather(
        *(store.outcomes.append(policy.id, [row], dry_run=n != 1) for n in range(4))
    )

    assert [list(answer) for answer in answers] == [
        [ACCEPTED],
        [ACCEPTED],
        [DUPLICATE],
        [DUPLICATE],
    ]


async def test_nothing_appended_is_nothing_answered(store, policy):
    assert list(await store.outcomes.append(policy.id, [])) == []


async def test_of_fifty_at_once_with_one_sequence_one_is_accepted(store, policy):
    decision = await store.with_decision(policy)
    rivals = [an_outcome(decision, value=n / 50) for n in range(50)]

    answers = await asyncio.gather(*(store.outcomes.append(policy.id, [rival]) for rival in rivals))

    key = (decision.id, Objective.QUALITY)
    assert sorted(answer for (answer,) in answers) == sorted([ACCEPTED, *[DUPLICATE] * 49])
    assert len(logged(store, policy, key)[key]) == 1
