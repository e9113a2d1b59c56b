"""The port `Catalog`."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bandit.domain.arm import ArmStatus
from bandit.domain.errors import AlreadyExists, StalePolicy, UnknownPolicy
from bandit.domain.objective import Objective
from bandit.domain.policy import PolicySettings
from bandit.domain.price import Price, PriceVersion
from bandit.domain.tenant import Tenant
from bandit.routing.ports import Versions
from tests.builders import NOW, a_policy, an_arm, an_event, an_offline_prior


def test_a_policy_comes_back_as_it_was_stored(store):
    arms = (
        an_arm("free", price=None, context_window_tokens=8192),
        an_arm("älter", status=ArmStatus.RETIRED),
        an_arm("a", price=Price(0.1, 1e-7, 1e9)),
    )
    policy = a_policy("naïve 政策", arms=arms)

    store.catalog.create(policy, an_event())

    assert store.catalog.get("naïve 政策") == policy


def test_a_name_is_taken_once(store):
    store.with_policy(a_policy("one"))

    with pytest.raises(AlreadyExists, match="one"):
        store.catalog.create(a_policy("one"), an_event())

    assert len(store.catalog.list()) == 1


def test_the_name_of_an_archived_policy_stays_taken(store):
    policy = store.with_policy(a_policy("one"))
    store.catalog.replace(replace(policy, version=2, is_archived=True), an_event())

    with pytest.raises(AlreadyExists):
        store.catalog.create(a_policy("one"), an_event())

    assert store.catalog.get("one").is_archived


@pytest.mark.parametrize("name", ["nothing", "", "nul\0", "lone \ud800"])
def test_an_unknown_name_is_unknown(store, name):
    with pytest.raises(UnknownPolicy):
        store.catalog.get(name)


def test_policies_are_listed_by_name_archived_ones_included(store):
    for name in ("b", "a", "B", "ä", "\U0001d51e", "\uff21"):
        store.with_policy(a_policy(name))
    archived = replace(store.catalog.get("b"), version=2, is_archived=True)
    store.catalog.replace(archived, an_event())

    names = [policy.name for policy in store.catalog.list()]

    assert names == sorted(["b", "a", "B", "ä", "\U0001d51e", "\uff21"])


def test_a_successor_takes_the_place_of_its_predecessor(store):
    policy = store.with_policy()
    small, large = policy.arms
    dearer = PriceVersion(NOW, Price(2.0, 8.0, 0.5))
    successor = replace(
        policy,
        version=2,
        settings=replace(policy.settings, temperature=0.5),
        arms=(
            replace(small, prices=(*small.prices, dearer)),
            replace(large, status=ArmStatus.RETIRED),
            an_arm("large"),
        ),
    )

    store.catalog.replace(successor, an_event("update_policy"))

    assert store.catalog.get(policy.name) == successor


def test_a_price_set_again_for_the_same_moment_counts_as_set_last(store):
    policy = store.with_policy()
    (arm, other), later = policy.arms, NOW + timedelta(days=1)
    for version, fee in ((2, 0.1), (3, 0.2)):
        scheduled = replace(arm, prices=(*arm.prices, PriceVersion(later, Price(fee_usd=fee))))
        successor = replace(policy, version=version, arms=(scheduled, other))
        store.catalog.replace(successor, an_event("set_price"))

    stored = store.catalog.get(policy.name)

    assert stored.arms[0].prices[-1] == PriceVersion(later, Price(fee_usd=0.2))


def test_priors_of_arms_are_kept_from_first_to_last(store):
    first = {Objective.QUALITY: an_offline_prior(rows=50, strength=0.1 + 0.2)}
    later = {Objective.LATENCY: an_offline_prior(), Objective.COST: an_offline_prior(rows=7)}
    policy = store.with_policy(a_policy(arms=[an_arm("a", offline=first), an_arm("b")]))
    grown = replace(policy, version=2, arms=(*policy.arms, an_arm("c", offline=later)))

    store.catalog.replace(grown, an_event("add_arm"))
    again = replace(grown, version=3, is_archived=True)
    store.catalog.replace(again, an_event())

    assert store.catalog.get(policy.name) == again
    assert [arm.offline for arm in store.catalog.list()[0].arms] == [first, {}, later]


@pytest.mark.parametrize("version", [1, 3])
def test_only_the_next_version_can_replace(store, version):
    policy = store.with_policy()

    with pytest.raises(StalePolicy):
        store.catalog.replace(replace(policy, version=version, is_archived=True), an_event())

    assert store.catalog.get(policy.name) == policy


def test_a_policy_never_stored_cannot_be_replaced(store):
    with pytest.raises(StalePolicy):
        store.catalog.replace(replace(a_policy(), version=2), an_event())


def test_versions_tell_of_every_policy(store):
    first, second = store.with_policy(), store.with_policy()
    store.catalog.replace(replace(second, version=2), an_event())
    with store.learning.begin(second.id) as fold:
        fold.advance()

    versions = store.catalog.versions()

    assert versions == {first.id: Versions(1, 0), second.id: Versions(2, 1)}


def test_times_are_in_utc(store):
    policy = store.with_policy(
        a_policy(created_at=datetime.fromisoformat("2026-01-01T00:00+05:00"))
    )

    assert store.catalog.get(policy.name).created_at == datetime(2025, 12, 31, 19, tzinfo=UTC)


def test_defaults_are_kept(store):
    policy = store.with_policy(a_policy(settings=PolicySettings()))

    assert store.catalog.get(policy.name).settings == PolicySettings()


def test_a_name_is_a_tenants_own(store):
    ours = store.with_policy(a_policy("chat"))
    theirs = store.with_policy(replace(a_policy("chat"), tenant=Tenant("other")))

    assert store.catalog.get("chat") == ours
    assert store.catalog.get("chat", Tenant("other")) == theirs
    with pytest.raises(UnknownPolicy):
        store.catalog.get("chat", Tenant("nobody"))
    with pytest.raises(AlreadyExists):
        store.catalog.create(replace(a_policy("chat"), tenant=Tenant("other")), an_event())


def test_policies_are_listed_by_tenant_and_by_id(store):
    ours = store.with_policy(a_policy("b"))
    theirs = store.with_policy(replace(a_policy("a"), tenant=Tenant("other")))

    assert store.catalog.list() == [theirs, ours]
    assert store.catalog.list(Tenant("other")) == [theirs]
    assert store.catalog.policies([ours.id]) == [ours]
    assert store.catalog.policies([]) == []
