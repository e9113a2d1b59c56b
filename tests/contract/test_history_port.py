"""The port `History`, and what a fold sets aside or leaves out."""

from dataclasses import replace
from datetime import timedelta

import pytest

from bandit.domain.errors import StalePolicy
from bandit.domain.objective import Objective
from bandit.routing.history import KEPT_FOR, KEPT_SCHEDULED
from bandit.routing.learner import fold_due
from bandit.routing.misfit import DECISION, Misfit
from tests.builders import NOW, a_decision, an_event, an_outcome

pytestmark = pytest.mark.asyncio

HOUR = timedelta(hours=1)
QUALITY = Objective.QUALITY


async def learn(store, policy):
    """One more outcome is learned."""
    decision = await store.with_decision(policy)
    await store.outcomes.append(policy.id, [an_outcome(decision, received_at=NOW)])
    fold_due(store.learning, policy, now=NOW)


async def test_a_snapshot_is_taken_when_it_is_time_and_something_was_learned(store, policy):
    def look(hours):
        return store.history.keep_scheduled(policy.id, now=NOW + hours * HOUR, every=HOUR)

    assert look(0) is None  # nothing was ever learned
    await learn(store, policy)
    first = look(0)
    await learn(store, policy)
    assert look(0.5) is None  # too early
    second = look(1)
    assert look(9) is None  # nothing was learned since

    newest, oldest = store.history.snapshots(policy.id)
    assert (oldest.id, newest.id) == (first, second)
    assert (newest.at, newest.reason, newest.learned_version) == (NOW + HOUR, "scheduled", 2)
    assert (newest.posteriors, newest.observations, newest.pending) == (1, 2, 0)
    assert oldest.observations == 1


async def test_it_tells_how_many_wait_in_line(store, policy):
    await learn(store, policy)
    decision = await store.with_decision(policy)
    await store.outcomes.append(policy.id, [an_outcome(decision)])

    store.history.keep_scheduled(policy.id, now=NOW, every=HOUR)

    (kept,) = store.history.snapshots(policy.id)
    assert (kept.observations, kept.pending) == (1, 1)


@pytest.mark.parametrize(
    ("kind", "is_kept"),
    [("add_arm", True), ("remove_arm", True), ("set_arm_status", True), ("set_price", False)],
)
async def test_before_a_change_of_the_structure_the_state_is_kept(store, policy, kind, is_kept):
    await learn(store, policy)

    store.catalog.replace(replace(policy, version=2), an_event(kind))

    assert [kept.reason for kept in store.history.snapshots(policy.id)] == [kind] * is_kept


async def test_a_change_that_is_overtaken_keeps_nothing(store, policy):
    await learn(store, policy)

    with pytest.raises(StalePolicy):
        store.catalog.replace(replace(policy, version=7), an_event("add_arm"))

    assert list(store.history.snapshots(policy.id)) == []


async def test_scheduled_ones_go_by_their_number_and_others_by_their_age(store, policy):
    await learn(store, policy)
    store.catalog.replace(replace(policy, version=2), an_event("add_arm"))  # at NOW
    for hour in range(KEPT_SCHEDULED + 2):
        await learn(store, policy)
        store.history.keep_scheduled(policy.id, now=NOW + (hour + 1) * HOUR, every=HOUR)

    kept = store.history.snapshots(policy.id)
    assert [each.reason for each in kept] == ["scheduled"] * KEPT_SCHEDULED + ["add_arm"]

    await learn(store, policy)
    late = NOW + KEPT_FOR + HOUR
    store.history.keep_scheduled(policy.id, now=late, every=HOUR)
    assert {each.reason for each in store.history.snapshots(policy.id)} == {"scheduled"}


async def test_what_is_set_aside_is_counted_once_per_key(store, policy):
    elsewhere = store.with_policy()
    first = Misfit(DECISION, "one/quality", "it is odd", b"\x00\x01")
    with store.learning.begin(policy.id) as fold:
        fold.quarantine([first, Misfit(DECISION, "two/cost", "so is this")], at=NOW)
    with store.learning.begin(policy.id) as fold:
        fold.quarantine([replace(first, reason="it is still odd")], at=NOW + HOUR)
        fold.quarantine([], at=NOW)

    assert store.posteriors.quarantined(policy.id) == 2
    assert store.posteriors.quarantined(elsewhere.id) == 0


async def test_a_contribution_can_be_taken_away(store, policy):
    decision = await store.with_decision(policy)
    keys = [(decision.id, QUALITY), (decision.id, Objective.COST)]
    with store.learning.begin(policy.id) as fold:
        fold.write(schema_id="s", sums={}, contributions=dict.fromkeys(keys, 0.5))
    with store.learning.begin(policy.id) as fold:
        fold.write(schema_id="s", sums={}, contributions={keys[0]: None, keys[1]: 0.25})

    with store.learning.begin(policy.id) as fold:
        assert fold.contributions(keys) == {keys[1]: 0.25}


async def test_an_outcome_of_no_decision_is_set_aside(store, policy):
    lost = a_decision(policy)
    kept = await store.with_decision(policy)
    await store.outcomes.append(policy.id, [an_outcome(lost), an_outcome(kept)])

    folded = fold_due(store.learning, policy, now=NOW + HOUR)

    assert [misfit.reason for misfit in folded.misfits] == ["the log has no such decision"]
    assert folded.settled == 2
    assert store.posteriors.pending(policy.id) == 0
    assert store.posteriors.quarantined(policy.id) == 1
