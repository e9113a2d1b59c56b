import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandit.evaluation.aiq import aiq
from bandit.evaluation.frontier import hull

COST, QUALITY = np.array([1.0, 3.0]), np.array([0.4, 0.8])

points = st.lists(st.tuples(st.floats(1e-3, 1.0), st.floats(0.0, 1.0)), min_size=1, max_size=8).map(
    np.array
)


def test_both_forms_worked_out_by_hand():
    """
    A line from (1, .4) to (3, .8), then flat: 2 * .6 = 1.2 up to 3, and .8 up to 4, so 2.0 from
    1 to 4.  Over the range of 3 that is 2/3, over the largest cost of 4 it is 1/2.
    """
    found = aiq(COST, QUALITY, low_usd=1.0, high_usd=4.0)

    assert found.over_range == pytest.approx(2.0 / 3.0)
    assert found.by_largest_cost == pytest.approx(0.5)


def test_cheaper_than_its_cheapest_point_a_router_leaves_queries_unanswered():
    """From .5 to 1 the line from (0, 0) to (1, .4): .5 * (.2 + .4) / 2 = .15, added to 1.2."""
    found = aiq(COST, QUALITY, low_usd=0.5, high_usd=3.0)

    assert found.over_range == pytest.approx((0.15 + 1.2) / 2.5)
    assert found.by_largest_cost == pytest.approx(1.2 / 3.0)


def test_a_point_under_the_hull_changes_nothing():
    with_another = aiq(
        np.array([1.0, 3.0, 2.0]), np.array([0.4, 0.8, 0.5]), low_usd=1.0, high_usd=4.0
    )

    assert with_another == aiq(COST, QUALITY, low_usd=1.0, high_usd=4.0)


@settings(deadline=None, max_examples=100)
@given(router=points)
def test_the_aiq_is_the_mean_height_of_the_hull_on_a_fine_grid(router):
    cost, quality = router.T
    corners = hull(np.append(cost, 0.0), np.append(quality, 0.0))
    grid = np.linspace(0.2, 1.5, 40_001)
    heights = np.interp(grid, *corners)

    found = aiq(cost, quality, low_usd=0.2, high_usd=1.5)

    assert found.over_range == pytest.approx(heights.mean(), abs=2e-4)


@settings(deadline=None, max_examples=100)
@given(router=points, other=points)
def test_more_points_never_lower_it(router, other):
    both = np.concatenate([router, other])

    alone, together = (aiq(*some.T, low_usd=0.1, high_usd=1.2) for some in (router, both))

    assert together.over_range >= alone.over_range - 1e-9


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, 1.0), (-1.0, 1.0)])
def test_a_range_that_is_none_is_refused(low, high):
    with pytest.raises(ValueError, match="low < high"):
        aiq(COST, QUALITY, low_usd=low, high_usd=high)
