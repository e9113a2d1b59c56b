from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from bandit.domain.arm import ArmStatus
from bandit.domain.objective import HEADS, Objective
from bandit.domain.policy import PolicySettings, Range
from bandit.domain.price import Price
from bandit.features.schema import schema_of
from bandit.learning.alarms import Alarm
from bandit.learning.offline import with_offline
from bandit.learning.posterior import posterior_from
from bandit.learning.prior import prior_of
from bandit.learning.sums import Evidence, Sums, folded, no_outcomes
from bandit.routing.ports import StoredSums
from bandit.routing.snapshot import snapshot_of
from tests.builders import A_CONTEXT, NOW, a_policy, an_arm, an_offline_prior

SCHEMA = schema_of(A_CONTEXT)
LATER = NOW + timedelta(minutes=1)


def stored(*targets, version=1, epoch=NOW):
    """The sums of outcomes with these targets, as the store holds them."""
    context = np.array([0.5, -0.5, 1.0, 1.0])
    evidence = [Evidence(0, context, target, 1.0) for target in targets]
    sums = folded([no_outcomes(SCHEMA.features, epoch=epoch)], evidence)[0]
    return StoredSums(version=version, observations=len(targets), sums=sums)


def corrupt(version=1):
    values = np.full_like(stored().sums.values, np.nan)
    return StoredSums(version, 3, Sums(values, SCHEMA.features, NOW))


def of_another_length(version=1):
    return StoredSums(version, 3, no_outcomes(SCHEMA.features - 1, epoch=NOW))


def unreadable(version=1):
    return StoredSums(version, 3, None, fault="checksum does not match")


def a_snapshot(policy, changed=None, *, previous=None, now=NOW):
    return snapshot_of(
        policy,
        learned_version=0 if previous is None else previous.learned_version + 1,
        changed=changed or {},
        previous=previous,
        now=now,
    )


def prior_mean_and_covariance(head, *, is_priced=True):
    """An arm's quality is explored for what it is on average: by the variance of the bias alone."""
    posterior = posterior_from(
        no_outcomes(SCHEMA.features, epoch=NOW), prior_of(SCHEMA, head, is_priced=is_priced)
    )
    covariance = posterior.covariance.copy()
    if head is Objective.QUALITY:
        covariance[:-1] = 0.0
    return posterior.mean, covariance


def test_before_any_outcome_every_cell_is_its_prior():
    policy = a_policy()

    snapshot = a_snapshot(policy)

    assert snapshot.means.shape == (2, 3, SCHEMA.features)
    assert snapshot.covariances.shape == (2, 3, SCHEMA.features * (SCHEMA.features + 1) // 2)
    for head in HEADS:
        mean, covariance = prior_mean_and_covariance(head)
        assert_array_equal(snapshot.means[:, head], [mean, mean])
        assert_allclose(snapshot.covariances[:, head], [covariance, covariance], rtol=1e-12)
    assert_allclose(snapshot.noise, np.tile([0.09, 0.25, 0.16], (2, 1)))


def test_what_was_learned_is_packed_where_its_arm_and_head_are():
    policy = a_policy()
    cell = (policy.arms[1].id, Objective.COST)
    sums = stored(0.5, 0.3)

    snapshot = a_snapshot(policy, {cell: sums})

    posterior = posterior_from(sums.sums, prior_of(SCHEMA, Objective.COST))
    assert_array_equal(snapshot.means[1, Objective.COST], posterior.mean)
    assert_array_equal(snapshot.covariances[1, Objective.COST], posterior.covariance)
    assert snapshot.noise[1, Objective.COST] == posterior.noise
    assert (snapshot.cells[cell].version, snapshot.cells[cell].observations) == (1, 2)


def test_cells_that_did_not_change_are_the_same_objects():
    policy = a_policy()
    first, second = ((arm.id, Objective.QUALITY) for arm in policy.arms)
    before = a_snapshot(policy, {first: stored(-0.2), second: stored(0.1)})

    after = a_snapshot(policy, {first: stored(-0.2, -0.3, version=2)}, previous=before)

    changed = {cell for cell in before.cells if after.cells[cell] is not before.cells[cell]}
    assert changed == {first}
    assert_array_equal(after.means[1], before.means[1])
    assert (after.means[0] != before.means[0]).any()


def test_a_snapshot_is_not_changed_by_its_successor():
    policy = a_policy()
    before = a_snapshot(policy)
    means = before.means.copy()

    a_snapshot(policy, {(policy.arms[0].id, Objective.QUALITY): stored(1.0)}, previous=before)

    assert_array_equal(before.means, means)
    assert not before.means.flags.writeable


@pytest.mark.parametrize("broken", [corrupt, of_another_length, unreadable])
def test_a_corrupt_cell_keeps_its_last_good_posterior_and_says_why(broken):
    policy = a_policy()
    cell = (policy.arms[0].id, Objective.QUALITY)
    before = a_snapshot(policy, {cell: stored(-0.2, -0.3)})

    after = a_snapshot(policy, {cell: broken(version=2)}, previous=before)

    assert after.cells[cell].fault
    assert after.cells[cell].version == 2
    assert after.cells[cell].posterior is before.cells[cell].posterior
    assert_array_equal(after.means, before.means)


@pytest.mark.parametrize("broken", [corrupt, of_another_length, unreadable])
def test_a_cell_corrupt_from_the_start_is_its_prior_and_says_why(broken):
    policy = a_policy()
    cell = (policy.arms[0].id, Objective.QUALITY)

    snapshot = a_snapshot(policy, {cell: broken()})

    assert snapshot.cells[cell].fault
    assert_array_equal(
        snapshot.means[0, Objective.QUALITY], prior_mean_and_covariance(Objective.QUALITY)[0]
    )
    assert [c for c in snapshot.cells if snapshot.cells[c].fault] == [cell]


def test_a_corrupt_cell_that_was_mended_is_served_again():
    policy = a_policy()
    cell = (policy.arms[0].id, Objective.QUALITY)
    broken = a_snapshot(policy, {cell: corrupt()})

    mended = a_snapshot(policy, {cell: stored(-0.5, version=2)}, previous=broken)

    assert mended.cells[cell].fault == ""
    assert (mended.means[0, Objective.QUALITY] != 0).any()


def test_an_arm_added_starts_from_its_prior_and_the_others_keep_what_they_know():
    policy = a_policy()
    cell = (policy.arms[1].id, Objective.QUALITY)
    before = a_snapshot(policy, {cell: stored(-0.5)})
    grown = replace(policy, version=2, arms=(an_arm("new"), *policy.arms))

    after = a_snapshot(grown, previous=before)

    assert after.means.shape[0] == 3
    assert_allclose(after.means[1:], before.means, atol=1e-12)
    assert_array_equal(after.means[0], np.zeros((3, SCHEMA.features)))
    assert after.cells[cell] is before.cells[cell]


def test_a_retired_arm_is_gone():
    policy = a_policy()
    before = a_snapshot(policy, {(policy.arms[1].id, Objective.QUALITY): stored(-0.5)})
    retired = replace(policy.arms[0], status=ArmStatus.RETIRED)
    shrunk = replace(policy, version=2, arms=(retired, policy.arms[1]))

    after = a_snapshot(shrunk, previous=before)

    assert after.arms == (policy.arms[1],)
    assert_allclose(after.means, before.means[1:], atol=1e-12)
    assert all(arm_id == policy.arms[1].id for arm_id, _ in after.cells)


def test_an_arm_without_a_price_costs_the_middle_of_the_range_and_learns_it_freely():
    """sqrt(1e-4 * 1e-2) = 1e-3 USD, with a cost bias worth .01 of an outcome."""
    settings = PolicySettings(context=A_CONTEXT, cost_range=Range(1e-4, 1e-2))
    policy = a_policy(
        settings=settings, arms=[an_arm(price=Price(1.0, 4.0)), an_arm("b", price=None)]
    )

    snapshot = a_snapshot(policy)

    assert_allclose(snapshot.list_usd(1000), [0.0018, 1e-3])
    unpriced = prior_mean_and_covariance(Objective.COST, is_priced=False)[1]
    assert_array_equal(snapshot.covariances[1, Objective.COST], unpriced)
    assert unpriced[-1] == pytest.approx(0.25 / 0.01)


def test_what_was_recorded_elsewhere_stands_beside_the_arms_own_outcomes_and_does_not_age():
    """One own outcome, one half-life old, beside a prior that counts whole."""
    offline = an_offline_prior()
    policy = a_policy(
        settings=PolicySettings(context=A_CONTEXT, half_life_hours={Objective.QUALITY: 24.0}),
        arms=[an_arm(offline={Objective.QUALITY: offline})],
    )
    cell = (policy.arms[0].id, Objective.QUALITY)
    before = a_snapshot(policy)

    after = a_snapshot(policy, {cell: stored(-0.5)}, previous=before, now=NOW + timedelta(hours=24))

    quality_prior = prior_of(SCHEMA, Objective.QUALITY)
    nothing = no_outcomes(SCHEMA.features, epoch=NOW)
    half = Sums(stored(-0.5).sums.values / 2, SCHEMA.features, NOW)
    for snapshot, own in ((before, nothing), (after, half)):
        expected = posterior_from(with_offline(own, offline), quality_prior)
        made = snapshot.cells[cell].posterior
        assert_allclose(made.mean, expected.mean)
        assert_allclose(made.covariance, expected.covariance)
        assert made.noise == pytest.approx(expected.noise)
        assert made.weight == own.weight
    assert_array_equal(
        before.means[0, Objective.COST], prior_mean_and_covariance(Objective.COST)[0]
    )


def test_a_prior_of_another_feature_schema_is_passed_over():
    offline = an_offline_prior("another")
    policy = a_policy(arms=[an_arm(offline={Objective.QUALITY: offline})])

    snapshot = a_snapshot(policy)

    mean, covariance = prior_mean_and_covariance(Objective.QUALITY)
    assert_array_equal(snapshot.means[0, Objective.QUALITY], mean)
    assert_allclose(snapshot.covariances[0, Objective.QUALITY], covariance, rtol=1e-12)


def test_a_prior_whose_sums_are_lost_is_left_out_and_said_so():
    lost = replace(an_offline_prior(), sums=b"")
    policy = a_policy(arms=[an_arm(offline={Objective.QUALITY: lost})])
    cell = (policy.arms[0].id, Objective.QUALITY)

    snapshot = a_snapshot(policy)

    assert "offline prior" in snapshot.cells[cell].fault
    assert_array_equal(
        snapshot.means[0, Objective.QUALITY], prior_mean_and_covariance(Objective.QUALITY)[0]
    )


def test_outcomes_have_aged_when_a_snapshot_is_made():
    """One outcome, one half-life old: the posterior of half an outcome."""
    settings = PolicySettings(context=A_CONTEXT, half_life_hours={Objective.QUALITY: 24.0})
    policy = a_policy(settings=settings)
    cell = (policy.arms[0].id, Objective.QUALITY)
    sums = stored(-0.5)

    snapshot = a_snapshot(policy, {cell: sums}, now=NOW + timedelta(hours=24))

    half = Sums(sums.sums.values / 2, SCHEMA.features, NOW)
    posterior = posterior_from(half, prior_of(SCHEMA, Objective.QUALITY))
    assert_allclose(snapshot.cells[cell].posterior.mean, posterior.mean)


def test_the_qualities_of_all_arms_lean_on_their_context_as_far_as_all_outcomes_bear_out():
    """One arm's outcomes follow the context without noise: the other's prediction follows too."""
    policy = a_policy()
    telling, other = ((arm.id, Objective.QUALITY) for arm in policy.arms)
    contexts = np.random.default_rng(0).normal(size=(3000, SCHEMA.features))
    contexts[:, -1] = 1.0
    evidence = [Evidence(0, x, 0.2 * x[0] - 0.3, 1.0) for x in contexts]
    sums = folded([no_outcomes(SCHEMA.features, epoch=NOW)], evidence)[0]
    blind = a_snapshot(policy, {other: stored(*[0.1, -0.2] * 50)})

    seeing = a_snapshot(policy, {telling: StoredSums(1, 3000, sums)}, previous=blind)

    assert blind.context_weights[Objective.QUALITY] == 0.0
    assert_array_equal(blind.means[1, Objective.QUALITY, :-1], 0.0)
    assert seeing.context_weights[Objective.QUALITY] > 0.5
    assert (seeing.means[1, Objective.QUALITY, :-1] != 0.0).all()
    assert seeing.cells[other] is blind.cells[other]


def test_a_price_comes_into_force_with_the_next_snapshot():
    policy = a_policy(arms=[an_arm(price=Price(1.0), valid_from=LATER)])
    before = a_snapshot(policy)

    after = a_snapshot(policy, previous=before, now=LATER)

    assert (before.prices, after.prices) == ((None,), (Price(1.0),))


def test_after_an_alarm_what_was_learned_fades_though_nothing_new_is():
    """Three hours on, with an hour of fading, an outcome from before the alarm has (1/4)^3 left."""
    policy = a_policy()
    cell = (policy.arms[0].id, Objective.QUALITY)
    alarmed = replace(stored(-0.5), alarms=(Alarm(NOW, fading_hours=1.0),))
    before = a_snapshot(policy, {cell: alarmed})

    after = a_snapshot(policy, previous=before, now=NOW + timedelta(hours=3))

    faded = Sums(alarmed.sums.values / 4**3, SCHEMA.features, NOW)
    expected = posterior_from(faded, prior_of(SCHEMA, Objective.QUALITY))
    assert_allclose(after.cells[cell].posterior.mean, expected.mean)
    assert after.cells[cell].posterior.weight == pytest.approx(
        before.cells[cell].posterior.weight / 64
    )
    assert after.cells[cell].version == before.cells[cell].version
