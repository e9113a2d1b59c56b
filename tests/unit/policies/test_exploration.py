import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from bandit.policies.exploration import with_floor


@st.composite
def choices(draw):
    """Propensities, some of them 0, and which arms are exploring."""
    arms = draw(st.integers(1, 8))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    parts = random.exponential(size=arms) * (random.uniform(size=arms) < 0.7)
    parts[random.integers(arms)] += 0.1
    exploring = np.array(draw(st.lists(st.booleans(), min_size=arms, max_size=arms)))
    return parts / parts.sum(), exploring


def test_floors_worked_out_by_hand():
    """Floors 1/6 each: .75 - 0 and .25 - 1/6 = 1/12 lie above, and share the other 2/3 as 9 : 1."""
    floored = with_floor(np.array([0.75, 0.25, 0.0]), np.array([False, True, True]))

    assert_allclose(floored, [0.6, 1 / 6 + 2 / 30, 1 / 6])


@settings(deadline=None)
@given(choice=choices())
def test_propensities_sum_to_one_and_keep_their_floors(choice):
    propensities, exploring = choice

    floored = with_floor(propensities, exploring)

    assert floored.sum() == pytest.approx(1.0, abs=1e-12)
    assert (floored >= 0).all()
    if exploring.any():
        assert (floored[exploring] >= 1 / (3 * exploring.sum()) - 1e-15).all()


@settings(deadline=None)
@given(choice=choices())
def test_nothing_changes_where_no_arm_is_under_its_floor(choice):
    propensities, exploring = choice
    floored = with_floor(propensities, exploring)

    again = with_floor(floored, exploring)

    assert_allclose(again, floored, atol=1e-12)


@settings(deadline=None)
@given(choice=choices())
def test_arms_that_are_not_exploring_keep_their_proportions(choice):
    propensities, exploring = choice

    floored = with_floor(propensities, exploring)

    others, before = floored[~exploring], propensities[~exploring]
    assert_allclose(others * before.sum(), before * others.sum(), atol=1e-12)


def test_without_an_exploring_arm_nothing_changes():
    propensities = np.array([0.2, 0.8])

    assert with_floor(propensities, np.array([False, False])) is propensities


def test_an_exploring_arm_alone_is_certain():
    assert with_floor(np.array([1.0]), np.array([True])).tolist() == [1.0]
