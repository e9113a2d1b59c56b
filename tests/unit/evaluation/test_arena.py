import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandit.evaluation.arena import LEAST_USD, MOST_USD, arena_score

accuracies, costs = st.floats(0.0, 1.0), st.floats(1e-4, 1e3)


def test_the_score_worked_out_by_hand():
    """
    c = sqrt(.0044 * 200) lies half way on the log scale, C = .5; with A = .8:
    1.1 * .8 * .5 / (.08 + .5) = .44 / .58.
    """
    middle = (LEAST_USD * MOST_USD) ** 0.5

    assert arena_score(0.8, usd_per_thousand=middle) == pytest.approx(0.44 / 0.58)


def test_the_cheapest_perfect_model_scores_1_and_the_dearest_0():
    assert arena_score(1.0, usd_per_thousand=LEAST_USD) == pytest.approx(1.0)
    assert arena_score(1.0, usd_per_thousand=MOST_USD) == 0.0
    assert arena_score(0.0, usd_per_thousand=1.0) == 0.0


@given(accuracy=accuracies, cost=costs)
def test_the_score_lies_between_0_and_1(accuracy, cost):
    assert 0.0 <= arena_score(accuracy, usd_per_thousand=cost) <= 1.0 + 1e-12


@given(accuracy=accuracies, better=accuracies, cost=costs, dearer=costs)
def test_better_and_cheaper_never_scores_less(accuracy, better, cost, dearer):
    accuracy, better = sorted((accuracy, better))
    cost, dearer = sorted((cost, dearer))

    lower = arena_score(accuracy, usd_per_thousand=dearer)

    assert arena_score(better, usd_per_thousand=cost) >= lower - 1e-12
