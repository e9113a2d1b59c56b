"""New arms: how often they may be tried, and when they stand on their record."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandit.domain.arm import ArmStatus
from bandit.domain.errors import UnknownArm
from bandit.domain.objective import Objective
from bandit.domain.policy import PolicySettings
from bandit.features.schema import schema_of
from bandit.learning.sums import Sums, packed_length
from bandit.routing.catalog import CatalogKeeper, NewArm
from bandit.routing.exploring import PATIENCE, graduate, tried_enough
from bandit.routing.ledger import Allowance, LeaseRequest, Wish, slots_name
from bandit.routing.ports import StoredSums
from bandit.store.memory import MemoryStore
from tests.builders import A_CONTEXT, NOW, a_policy, an_arm

QUOTA = 20
NEW = an_arm("new", status=ArmStatus.EXPLORE)
POLICY = a_policy(arms=[an_arm("old"), NEW])
LATER = NOW + timedelta(minutes=1)


def over(policy, *, taken, qualities, now=LATER):
    allowances = {slots_name(NEW.id): Allowance(taken, NOW)} if taken is not None else {}
    return [arm.name for arm in tried_enough(policy, allowances, {NEW.id: qualities}, now)]


@pytest.mark.parametrize(
    ("taken", "qualities", "now", "is_over"),
    [
        (None, 100, LATER, False),
        (19, 100, LATER, False),
        (19, 100, NOW + 2 * PATIENCE, False),
        (20, 9, LATER, False),
        (20, 10, LATER, True),
        (20, 0, NOW + PATIENCE, True),
    ],
)
def test_an_arm_is_tried_by_all_its_slots_and_half_their_qualities(taken, qualities, now, is_over):
    found = over(POLICY, taken=taken, qualities=qualities, now=now)

    assert found == (["new"] if is_over else [])


def test_without_a_quota_an_arm_stands_on_its_record_at_once():
    policy = replace(POLICY, settings=PolicySettings(context=A_CONTEXT, explore_quota=0))

    assert over(policy, taken=None, qualities=0) == ["new"]


@settings(deadline=None)
@given(status=st.sampled_from([s for s in ArmStatus if s is not ArmStatus.EXPLORE]))
def test_only_exploring_arms_are_judged(status):
    arms = (POLICY.arms[0], replace(NEW, status=status))

    assert over(replace(POLICY, arms=arms), taken=20, qualities=20) == []


class World:
    def __init__(self):
        self.now = NOW
        self.store = MemoryStore()
        self.keeper = CatalogKeeper(
            self.store, clock=lambda: self.now, new_id=uuid4, random_bytes=bytes
        )
        settings = PolicySettings(context=A_CONTEXT)
        self.keeper.create_policy("chat", settings, [NewArm("old")], who="me")
        self.keeper.add_arm("chat", NewArm("new"), who="me")

    @property
    def policy(self):
        return self.keeper.get_policy("chat")

    @property
    def status(self):
        return self.policy.arm_named("new").status

    def take(self, slots):
        arm = self.policy.arm_named("new")
        request = LeaseRequest(slots_name(arm.id), slots, 0.0, QUOTA, whole=True)
        self.store.exchange_now([Wish(self.policy.id, 0, self.now, leases=(request,))])

    def learn(self, qualities):
        policy = self.policy
        cell = (policy.arm_named("new").id, Objective.QUALITY)
        sums = Sums(values=np.zeros(packed_length(4)), features=4, epoch=NOW)
        with self.store.begin(policy.id) as fold:
            fold.write(
                schema_id=schema_of(policy.settings.context).id,
                sums={cell: StoredSums(1, qualities, sums)},
                contributions={},
            )

    def graduate(self, policy=None, *, posteriors=None):
        return graduate(
            policy or self.policy,
            self.keeper,
            self.store,
            posteriors or self.store,
            now=self.now,
            who="learner",
        )


class Unread:
    """Implements `PosteriorReader`, and must not be asked."""

    def learned(self, policy_id, schema_id, *, known):
        raise AssertionError("read though no arm has had its trials")

    def pending(self, policy_id):
        raise AssertionError


@pytest.mark.parametrize(("qualities", "is_over"), [(9, False), (10, True)])
def test_an_arm_that_was_tried_becomes_active_once_its_qualities_are_learned(qualities, is_over):
    world = World()
    world.take(QUOTA)
    world.learn(qualities)

    graduates = world.graduate()

    assert [arm.name for arm in graduates] == (["new"] if is_over else [])
    assert world.status is (ArmStatus.ACTIVE if is_over else ArmStatus.EXPLORE)


def test_patience_with_outcomes_that_never_come_ends():
    world = World()
    world.take(QUOTA)
    world.now = NOW + PATIENCE

    assert [arm.name for arm in world.graduate()] == ["new"]
    assert world.graduate() == []


def test_nothing_is_read_before_the_trials_are_used_up():
    world = World()
    world.take(QUOTA - 1)

    assert world.graduate(posteriors=Unread()) == []
    assert world.status is ArmStatus.EXPLORE


@pytest.mark.parametrize("status", [ArmStatus.DRAINING, ArmStatus.SHADOW, ArmStatus.ACTIVE])
def test_an_arm_that_its_owner_moved_meanwhile_stays_where_it_is(status):
    world = World()
    seen = world.policy
    world.take(QUOTA)
    world.now = NOW + PATIENCE
    moved = world.keeper.set_arm_status("chat", "new", status, who="me")

    world.graduate(seen)

    assert world.policy == moved


def test_an_arm_that_was_removed_meanwhile_is_not_found():
    world = World()
    seen = world.policy
    world.take(QUOTA)
    world.now = NOW + PATIENCE
    removed = world.keeper.remove_arm("chat", "new", who="me")

    with pytest.raises(UnknownArm):
        world.graduate(seen)

    assert world.policy == removed


def test_an_arm_without_a_rival_starts_active():
    """Else the policy could answer nobody once its trials are used up."""
    world = World()
    settings = PolicySettings(context=A_CONTEXT)
    world.keeper.create_policy("empty", settings, who="me")

    world.keeper.add_arm("empty", NewArm("shadow", ArmStatus.SHADOW), who="me")
    world.keeper.add_arm("empty", NewArm("first"), who="me")
    policy = world.keeper.add_arm("empty", NewArm("second"), who="me")

    statuses = {arm.name: arm.status for arm in policy.arms}
    assert statuses == {
        "shadow": ArmStatus.SHADOW,
        "first": ArmStatus.ACTIVE,
        "second": ArmStatus.EXPLORE,
    }
