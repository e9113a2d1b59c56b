from dataclasses import replace
from datetime import timedelta
from itertools import count
from uuid import UUID

import pytest

from bandit.domain.arm import ArmStatus
from bandit.domain.errors import AlreadyExists, InvalidInput, StalePolicy, UnknownArm, UnknownPolicy
from bandit.domain.objective import Objective
from bandit.domain.policy import CostForm, PolicySettings, Range
from bandit.domain.price import Price, PriceVersion
from bandit.routing.catalog import CatalogKeeper, NewArm
from bandit.store.memory import MemoryStore
from tests.builders import A_CONTEXT, NOW, an_offline_prior

CHEAP, DEAR = Price(1.0, 4.0), Price(10.0, 40.0)
SETTINGS = PolicySettings(context=A_CONTEXT)
DAY = timedelta(days=1)


class Overtaken(MemoryStore):
    """A store in which another writer is first, so many times."""

    def __init__(self, times):
        super().__init__()
        self.times = times

    def replace(self, policy, event):
        if self.times > 0:
            self.times -= 1
            raise StalePolicy(policy.name, expected=policy.version - 1)
        super().replace(policy, event)


class World:
    """A keeper with a clock that stands still until it is moved."""

    def __init__(self, store=None):
        self.now = NOW
        self.store = store if store is not None else MemoryStore()
        ids = count(1)
        self.keeper = CatalogKeeper(
            self.store,
            clock=lambda: self.now,
            new_id=lambda: UUID(int=next(ids)),
            random_bytes=lambda size: bytes(range(size)),
        )

    def create(self, *arms, settings=SETTINGS, name="chat"):
        return self.keeper.create_policy(name, settings, arms, who="me")

    def with_two_arms(self):
        return self.create(NewArm("small", price=CHEAP), NewArm("large", price=DEAR))


def test_a_new_policys_arms_start_active_with_their_price_in_force():
    world = World()

    policy = world.create(NewArm("small", price=CHEAP), NewArm("large"))

    assert [arm.status for arm in policy.arms] == [ArmStatus.ACTIVE] * 2
    assert policy.arms[0].prices == (PriceVersion(NOW, CHEAP),)
    assert policy.arms[1].prices == ()
    assert policy.version == 1
    assert world.keeper.get_policy("chat") == policy


def test_the_cost_range_is_frozen_from_the_first_prices():
    """Lists at 500 tokens .0013 and .013: [.0013 / 3, .039]; a later price does not move it."""
    world = World()
    policy = world.with_two_arms()

    after = world.keeper.set_price("chat", "small", Price(1000.0), valid_from=None, who="me")

    frozen = policy.settings.cost_range
    assert (frozen.low, frozen.high) == (pytest.approx(0.0013 / 3), pytest.approx(0.039))
    assert after.settings.cost_range == frozen


@pytest.mark.parametrize("declared", [None, Range(1e-3, 1.0)])
def test_a_declared_cost_range_stays_and_without_prices_none_is_made(declared):
    world = World()
    arms = [NewArm("small", price=CHEAP)] if declared else [NewArm("small")]

    policy = world.create(*arms, settings=PolicySettings(context=A_CONTEXT, cost_range=declared))

    assert policy.settings.cost_range == declared


def test_a_name_is_taken_for_good():
    world = World()
    world.create()
    world.keeper.archive_policy("chat", who="me")

    with pytest.raises(AlreadyExists):
        world.create()


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("context", PolicySettings()),
        ("quality_prior_mean", PolicySettings(context=A_CONTEXT, quality_prior_mean=0.5)),
        (
            "half_life_hours",
            PolicySettings(context=A_CONTEXT, half_life_hours={Objective.COST: 24.0}),
        ),
    ],
)
def test_what_the_sums_depend_on_cannot_be_changed(field, changed):
    world = World()
    policy = world.create()

    with pytest.raises(InvalidInput) as refusal:
        world.keeper.update_policy("chat", changed, expected_version=None, who="me")

    assert refusal.value.field == f"settings.{field}"
    assert world.keeper.get_policy("chat") == policy


def test_everything_else_can_be_changed():
    world = World()
    world.create()
    changed = PolicySettings(
        context=A_CONTEXT, temperature=0.5, cost_form=CostForm.CAPPED_LINEAR, epsilon=0.2
    )

    policy = world.keeper.update_policy("chat", changed, expected_version=1, who="me")

    kept = {"unpriced_list_usd": policy.settings.unpriced_list_usd}
    assert (policy.version, policy.settings) == (2, replace(changed, **kept))
    assert world.keeper.get_policy("chat") == policy


def test_what_stands_in_for_a_price_is_fixed_when_the_policy_is_made():
    """The middle of the first range, sqrt(1e-4 * 1e-2) = 1e-3 USD; another range leaves it."""
    world = World()
    made = world.create(settings=replace(SETTINGS, cost_range=Range(1e-4, 1e-2)))
    changed = replace(SETTINGS, cost_range=Range(1.0, 2.0))

    policy = world.keeper.update_policy("chat", changed, expected_version=None, who="me")

    assert made.settings.unpriced_list_usd == pytest.approx(1e-3)
    assert policy.settings.unpriced_list_usd == made.settings.unpriced_list_usd
    assert policy.settings.cost_range == Range(1.0, 2.0)


def test_a_cost_range_that_an_update_does_not_give_stays():
    world = World()
    made = world.with_two_arms()

    policy = world.keeper.update_policy("chat", SETTINGS, expected_version=None, who="me")

    assert policy.settings.cost_range == made.settings.cost_range


def test_an_update_of_a_version_that_is_gone_is_refused():
    world = World()
    world.create()
    world.keeper.update_policy("chat", SETTINGS, expected_version=1, who="me")

    with pytest.raises(StalePolicy):
        world.keeper.update_policy("chat", SETTINGS, expected_version=1, who="me")


@pytest.mark.parametrize(
    ("declared", "status"), [(None, ArmStatus.EXPLORE), (ArmStatus.SHADOW, ArmStatus.SHADOW)]
)
def test_an_arm_added_to_a_running_policy_explores_unless_told_otherwise(declared, status):
    world = World()
    world.with_two_arms()

    policy = world.keeper.add_arm("chat", NewArm("new", status=declared), who="me")

    assert policy.arm_named("new").status is status
    assert [arm.name for arm in policy.arms] == ["small", "large", "new"]


def test_what_was_recorded_elsewhere_stays_with_its_arm():
    world = World()
    offline = {Objective.COST: an_offline_prior(target=0.1), Objective.QUALITY: an_offline_prior()}

    world.create(NewArm("small", price=CHEAP, offline=offline))
    policy = world.keeper.add_arm("chat", NewArm("large", offline=offline), who="me")
    policy = world.keeper.set_price("chat", "small", DEAR, valid_from=None, who="me")

    assert [arm.offline for arm in policy.arms] == [offline, offline]


@pytest.mark.parametrize(
    ("field", "objective", "offline"),
    [
        ("schema_id", Objective.QUALITY, an_offline_prior("another")),
        ("heads[0].sums", Objective.QUALITY, an_offline_prior(features=5)),
        ("heads[0]", Objective.LATENCY, an_offline_prior()),
    ],
)
def test_a_prior_that_does_not_fit_the_policy_is_refused_by_field(field, objective, offline):
    world = World()
    settings = PolicySettings(context=A_CONTEXT, objectives=(Objective.QUALITY, Objective.COST))
    arm = NewArm("new", offline={objective: offline})
    policy = world.create(settings=settings)

    with pytest.raises(InvalidInput) as at_birth:
        world.create(NewArm("first"), arm, settings=settings, name="other")
    with pytest.raises(InvalidInput) as later:
        world.keeper.add_arm("chat", arm, who="me")

    assert at_birth.value.field == f"arms[1].offline_prior.{field}"
    assert later.value.field == f"arm.offline_prior.{field}"
    assert world.keeper.list_policies(include_archived=True) == [policy]


def test_an_arms_name_is_taken_while_it_is_present():
    world = World()
    world.with_two_arms()

    with pytest.raises(AlreadyExists):
        world.keeper.add_arm("chat", NewArm("small"), who="me")


def test_a_removed_arm_leaves_a_tombstone_and_its_name():
    world = World()
    before = world.with_two_arms()

    world.keeper.remove_arm("chat", "small", who="me")
    policy = world.keeper.add_arm("chat", NewArm("small"), who="me")

    tombstone, again = policy.arms[0], policy.arm_named("small")
    assert (tombstone.id, tombstone.status) == (before.arms[0].id, ArmStatus.RETIRED)
    assert again.id not in {arm.id for arm in before.arms}
    assert len(policy.arms) == 3


def test_a_removed_arm_cannot_be_changed():
    world = World()
    world.with_two_arms()
    world.keeper.remove_arm("chat", "small", who="me")

    with pytest.raises(UnknownArm):
        world.keeper.set_arm_status("chat", "small", ArmStatus.ACTIVE, who="me")


def test_an_arm_moves_along_its_life_and_is_retired_by_removal_alone():
    world = World()
    world.with_two_arms()

    policy = world.keeper.set_arm_status("chat", "small", ArmStatus.DRAINING, who="me")

    assert policy.arm_named("small").status is ArmStatus.DRAINING
    with pytest.raises(InvalidInput, match="by removing it"):
        world.keeper.set_arm_status("chat", "small", ArmStatus.RETIRED, who="me")
    with pytest.raises(InvalidInput):
        NewArm("other", status=ArmStatus.RETIRED)


def test_a_price_replaces_the_one_in_force():
    world = World()
    world.with_two_arms()
    world.now = NOW + DAY

    policy = world.keeper.set_price("chat", "small", DEAR, valid_from=None, who="me")

    small = policy.arm_named("small")
    assert small.prices == (PriceVersion(NOW, CHEAP), PriceVersion(NOW + DAY, DEAR))
    assert small.price_at(NOW + DAY) == DEAR


def test_a_price_told_ahead_waits_and_can_be_told_anew():
    world = World()
    world.with_two_arms()

    world.keeper.set_price("chat", "small", DEAR, valid_from=NOW + DAY, who="me")
    world.keeper.set_price("chat", "small", Price(3.0), valid_from=NOW + DAY / 2, who="me")
    policy = world.keeper.set_price("chat", "small", Price(5.0), valid_from=NOW + DAY, who="me")

    small = policy.arm_named("small")
    moments = [NOW, NOW + DAY / 2, NOW + DAY]
    assert [small.price_at(moment) for moment in moments] == [CHEAP, Price(3.0), Price(5.0)]


def test_a_price_in_the_past_is_refused():
    world = World()
    world.with_two_arms()

    with pytest.raises(InvalidInput) as refusal:
        world.keeper.set_price(
            "chat", "small", DEAR, valid_from=NOW - timedelta(seconds=1), who="me"
        )

    assert refusal.value.field == "valid_from"


@pytest.mark.parametrize("tokens", [0, -5])
def test_an_arms_context_window_must_be_positive(tokens):
    world = World()
    world.with_two_arms()

    with pytest.raises(InvalidInput):
        world.keeper.update_arm("chat", "small", context_window_tokens=tokens, who="me")
    with pytest.raises(InvalidInput):
        NewArm("other", context_window_tokens=tokens)


def test_an_arms_context_window_can_be_lifted():
    world = World()
    world.with_two_arms()
    world.keeper.update_arm("chat", "small", context_window_tokens=8000, who="me")

    policy = world.keeper.update_arm("chat", "small", context_window_tokens=None, who="me")

    assert policy.arm_named("small").context_window_tokens is None
    assert policy.version == 3


def test_an_archived_policy_is_out_of_service_and_still_there():
    world = World()
    world.create()
    world.create(name="other")

    world.keeper.archive_policy("chat", who="me")

    assert world.keeper.get_policy("chat").is_archived
    listed = [
        [policy.name for policy in world.keeper.list_policies(include_archived=archived)]
        for archived in (False, True)
    ]
    assert listed == [["other"], ["chat", "other"]]
    with pytest.raises(UnknownPolicy):
        world.keeper.add_arm("chat", NewArm("new"), who="me")


def test_whoever_is_overtaken_looks_again():
    world = World(Overtaken(times=3))
    world.create()

    policy = world.keeper.add_arm("chat", NewArm("new"), who="me")

    assert world.keeper.get_policy("chat") == policy


def test_whoever_is_always_overtaken_gives_up():
    world = World(Overtaken(times=10_000))
    world.create()

    with pytest.raises(StalePolicy):
        world.keeper.add_arm("chat", NewArm("new"), who="me")
