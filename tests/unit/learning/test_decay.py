from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from bandit.learning.alarms import Alarm
from bandit.learning.decay import Forgetting, as_of, rebased, weight_of
from bandit.learning.posterior import posterior_from
from bandit.learning.prior import Prior
from bandit.learning.sums import Evidence, folded, no_outcomes
from tests.builders import NOW

hours = st.floats(-1000.0, 1000.0)
half_lives = st.floats(0.5, 1000.0)


def in_hours(count):
    return NOW + timedelta(hours=count)


def learned(outcomes, *, epoch, half_life_hours=None, alarms=()):
    """The sums over (decided at, x, y), kept scaled to `epoch`."""
    forgetting = Forgetting(half_life_hours, alarms)
    evidence = [
        Evidence(0, np.array(x), y, weight_of(at, epoch=epoch, forgetting=forgetting))
        for at, x, y in outcomes
    ]
    return folded([no_outcomes(2, epoch=epoch)], evidence)[0]


def test_an_outcome_one_half_life_old_counts_half():
    sums = learned([(NOW, [1.0, 2.0], 3.0)], epoch=NOW, half_life_hours=24.0)

    aged = as_of(sums, in_hours(24), Forgetting(24.0))

    assert_allclose(aged.values, sums.values / 2)
    assert aged.weight == 0.5
    assert aged.epoch == in_hours(24)


def test_without_a_half_life_nothing_ages():
    sums = learned([(NOW, [1.0, 2.0], 3.0)], epoch=in_hours(-50), half_life_hours=None)

    aged = as_of(sums, in_hours(10_000), Forgetting(None))

    assert aged.weight == 1.0
    assert rebased(sums, in_hours(10_000), Forgetting(None)) is sums


def test_the_prior_does_not_decay():
    """After a thousand half-lives the outcome is gone and the prior stands as it was."""
    prior = Prior(np.array([4.0, 2.0]), 0.3, 10.0)
    sums = learned([(NOW, [1.0, 2.0], 3.0)], epoch=NOW, half_life_hours=1.0)

    aged = posterior_from(as_of(sums, in_hours(1000), Forgetting(1.0)), prior)

    untouched = posterior_from(no_outcomes(2, epoch=NOW), prior)
    assert_allclose(aged.mean, untouched.mean, atol=1e-100)
    assert_allclose(aged.covariance, untouched.covariance, rtol=1e-12, atol=1e-100)


@settings(deadline=None, max_examples=100)
@given(moments=st.lists(hours, min_size=1, max_size=8), epoch=hours, half_life=half_lives)
def test_the_epoch_of_the_sums_does_not_matter(moments, epoch, half_life):
    """By definition an outcome weighs 2^-(age / half-life), wherever the epoch lies."""
    now = in_hours(1000)
    outcomes = [(in_hours(at), [1.0, at / 1000], at / 500) for at in moments]
    epochs = [now, in_hours(epoch)]
    # Beyond some thousand half-lives the factors leave the range of a float.
    half_life = max(half_life, 8.0)

    ages = [
        as_of(learned(outcomes, epoch=kept, half_life_hours=half_life), now, Forgetting(half_life))
        for kept in epochs
    ]

    assert_allclose(ages[0].values, ages[1].values, rtol=1e-9, atol=1e-60)
    weight = sum(2.0 ** -((1000 - at) / half_life) for at in moments)
    assert ages[0].weight == pytest.approx(weight, rel=1e-9)


@settings(deadline=None, max_examples=100)
@given(latest=hours, now=st.floats(0.0, 500.0), half_life=half_lives)
def test_moving_the_epoch_changes_nothing_that_is_read(latest, now, half_life):
    sums = learned([(NOW, [1.0, 2.0], 3.0)], epoch=NOW, half_life_hours=half_life)
    read_at = in_hours(max(latest, 0.0) + now)

    moved = rebased(sums, in_hours(latest), Forgetting(half_life))

    aged, aged_moved = (as_of(each, read_at, Forgetting(half_life)) for each in (sums, moved))
    assert_allclose(aged_moved.values, aged.values, rtol=1e-9, atol=1e-300)


@pytest.mark.parametrize(("half_lives_on", "moves"), [(39.9, False), (40.0, False), (40.1, True)])
def test_the_epoch_moves_when_the_exponent_passes_forty(half_lives_on, moves):
    sums = learned([(NOW, [1.0, 2.0], 3.0)], epoch=NOW, half_life_hours=10.0)
    latest = in_hours(10 * half_lives_on)

    moved = rebased(sums, latest, Forgetting(10.0))

    assert moved.epoch == (latest if moves else NOW)
    assert weight_of(latest, epoch=moved.epoch, forgetting=Forgetting(10.0)) <= 2.0**40


@pytest.mark.parametrize("late_hours", [1, 100, 10_000, 1_000_000])
def test_an_outcome_of_long_before_the_epoch_moves_nothing(late_hours):
    """It weighs next to nothing; moving the epoch back would overflow what is kept."""
    sums = learned([(NOW, [1.0, 2.0], 3.0)], epoch=NOW, half_life_hours=0.5)

    moved = rebased(sums, in_hours(-late_hours), Forgetting(0.5))

    assert moved is sums
    assert weight_of(in_hours(-late_hours), epoch=NOW, forgetting=Forgetting(0.5)) <= 0.25


def test_after_an_alarm_an_outcome_fades_with_the_cube_of_the_time_since():
    """An hour of fading: decided 1 h after the alarm, it has (2/4)^3 left when 3 h are over."""
    alarms = (Alarm(NOW, 0.5, fading_hours=1.0),)
    before, after = (
        learned([(in_hours(at), [1.0, 2.0], 3.0)], epoch=NOW, alarms=alarms) for at in (-5, 1)
    )

    weights = [
        as_of(sums, in_hours(3), Forgetting(None, alarms)).weight for sums in (before, after)
    ]

    assert weights == pytest.approx([0.5 * (1 / 4) ** 3, (2 / 4) ** 3])


def test_an_alarm_without_fading_leaves_what_comes_after_it_alone():
    alarms = (Alarm(NOW, 0.5),)
    sums = learned([(in_hours(1), [1.0, 2.0], 3.0)], epoch=NOW, alarms=alarms)

    assert not Forgetting(None, alarms).goes_on
    assert as_of(sums, in_hours(1000), Forgetting(None, alarms)).weight == 1.0


@settings(deadline=None, max_examples=100)
@given(
    moments=st.lists(hours, min_size=1, max_size=8),
    alarmed=st.lists(st.tuples(hours, st.floats(0.01, 1000.0)), max_size=3),
    epoch=hours,
)
def test_wherever_the_epoch_lies_an_outcome_fades_the_same(moments, alarmed, epoch):
    now = in_hours(1000)
    alarms = tuple(Alarm(in_hours(at), 0.5, fading) for at, fading in sorted(alarmed))
    forgetting = Forgetting(None, alarms)
    outcomes = [(in_hours(at), [1.0, at / 1000], at / 500) for at in moments]

    ages = [
        as_of(
            rebased(learned(outcomes, epoch=kept, alarms=alarms), now, forgetting), now, forgetting
        )
        for kept in (now, in_hours(epoch))
    ]

    assert_allclose(ages[0].values, ages[1].values, rtol=1e-9, atol=1e-60)
