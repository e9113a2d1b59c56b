import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from bandit.evaluation.frontier import hull, zero_router

# (1, .2) and (4, .8) are corners; (2, .3) and (3, .6) lie under the line; (5, .7) is dominated.
COST = np.array([3.0, 1.0, 5.0, 4.0, 2.0])
QUALITY = np.array([0.6, 0.2, 0.7, 0.8, 0.3])

points = st.lists(
    st.tuples(st.floats(1e-6, 1.0), st.floats(0.0, 1.0)), min_size=1, max_size=10
).map(np.array)


def test_the_corners_worked_out_by_hand():
    cost, quality = hull(COST, QUALITY)

    assert_array_equal(cost, [1, 4])
    assert_array_equal(quality, [0.2, 0.8])


@pytest.mark.parametrize(
    ("at", "quality"), [(0.5, 0.2), (1.0, 0.2), (2.0, 0.4), (2.5, 0.5), (4.0, 0.8), (9.0, 0.8)]
)
def test_the_zero_router_mixes_the_corners_on_either_side(at, quality):
    """At 2: two thirds of the cheap one and a third of the good one, .4."""
    assert zero_router(COST, QUALITY, at_cost_usd=at) == pytest.approx(quality)


def test_of_arms_that_cost_the_same_the_best_is_a_corner():
    cost, quality = hull(np.array([1.0, 1.0, 1.0]), np.array([0.2, 0.9, 0.5]))

    assert_array_equal(cost, [1])
    assert_array_equal(quality, [0.9])


@settings(deadline=None, max_examples=200)
@given(arms=points, seed=st.integers(0, 2**32 - 1))
def test_no_mix_of_arms_is_above_the_zero_router(arms, seed):
    cost, quality = arms.T
    mix = np.random.default_rng(seed).dirichlet(np.full(len(arms), 0.5))

    reached = zero_router(cost, quality, at_cost_usd=float(mix @ cost))

    assert reached >= mix @ quality - 1e-9


@settings(deadline=None, max_examples=100)
@given(arms=points)
def test_every_corner_is_an_arm_and_both_coordinates_rise(arms):
    corner_cost, corner_quality = hull(*arms.T)

    corners = set(zip(corner_cost, corner_quality, strict=True))
    assert corners <= set(map(tuple, arms))
    assert (np.diff(corner_cost) > 0).all()
    assert (np.diff(corner_quality) > 0).all()
    assert corner_cost[0] == arms[:, 0].min()
    assert corner_quality[-1] == arms[:, 1].max()
