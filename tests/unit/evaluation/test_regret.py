import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bandit.domain.policy import Range
from bandit.domain.preference import Preference, WillingnessToPay
from bandit.evaluation.frontier import zero_router
from bandit.evaluation.regret import measured
from bandit.evaluation.replay import Played
from bandit.evaluation.spread import spread
from bandit.evaluation.stream import StreamSettings, stream_of
from bandit.evaluation.table import OutcomeTable
from bandit.policies.utility import Normaliser

NORMALISER = Normaliser(Range(1e-5, 1e-1), Range(100.0, 10_000.0))
TURNS = (Preference(1.0), Preference(0.5, 0.5), Preference(0.2, 0.3, 0.5))
WILLING = (WillingnessToPay(0.01), WillingnessToPay(1.0))


def a_table(seed, *, queries=30, models=4, latency=True):
    random = np.random.default_rng(seed)
    shape = (queries, models)
    return OutcomeTable(
        query_ids=tuple(f"q{row}" for row in range(queries)),
        texts=("",) * queries,
        models=tuple(f"arm {arm}" for arm in range(models)),
        quality=random.uniform(size=shape),
        cost_usd=10 ** random.uniform(-4.5, -1.5, size=shape),
        latency_ms=10 ** random.uniform(2.1, 3.9, size=shape) if latency else None,
        request_tokens=np.full(queries, 100),
    )


def played(table, tradeoffs, *, seed=0, arms=None, learn_first=0):
    stream = stream_of(
        len(table), StreamSettings(tradeoffs=tradeoffs, learn_first=learn_first), seed=seed
    )
    if arms is None:
        arms = np.random.default_rng(seed).integers(len(table.models), size=len(table))
    steps = len(table)
    return Played(stream, arms, np.ones(steps), np.zeros((steps, 3)), seconds=2.0)


def utility_by_hand(table, row, arm, tradeoff):
    """Section 4's formula, one number at a time."""
    quality, cost = table.quality[row, arm], table.cost_usd[row, arm]
    if isinstance(tradeoff, WillingnessToPay):
        return quality - cost / tradeoff.usd
    utility = tradeoff.quality * quality - tradeoff.cost * math.log(cost / 1e-5) / math.log(1e4)
    if tradeoff.latency:
        utility -= tradeoff.latency * math.log(table.latency_ms[row, arm] / 100) / math.log(100)
    return utility


@pytest.mark.parametrize("tradeoffs", [TURNS, TURNS[:1], WILLING, (TURNS[0], WILLING[0])])
@pytest.mark.parametrize("seed", range(3))
def test_the_measures_are_those_of_a_calculation_by_brute_force(seed, tradeoffs):
    table = a_table(seed)
    one = played(table, tradeoffs, seed=seed, learn_first=5)

    found = measured(table, one, NORMALISER)

    steps = [
        (int(one.stream.rows[at]), int(one.arms[at]), one.stream.tradeoffs[at])
        for at in range(5, len(table))
    ]
    models = range(4)
    rows = [row for row, _, _ in steps]

    def mean_of(arm, tradeoff):
        """The arm's mean under this trade-off: over all measured queries, or those wanting it."""
        wanting = [row for row, _, wanted in steps if all_preferences or wanted == tradeoff]
        return np.mean([utility_by_hand(table, row, arm, tradeoff) for row in wanting])

    all_preferences = all(isinstance(tradeoff, Preference) for tradeoff in tradeoffs)
    best = {each: max(models, key=lambda arm: mean_of(arm, each)) for each in tradeoffs}
    gained = [utility_by_hand(table, *step) for step in steps]
    could = [utility_by_hand(table, row, best[wanted], wanted) for row, _, wanted in steps]
    top = [max(utility_by_hand(table, row, a, w) for a in models) for row, _, w in steps]
    singles = [np.mean([utility_by_hand(table, r, a, w) for r, _, w in steps]) for a in models]
    mean_cost = np.mean([table.cost_usd[row, arm] for row, arm, _ in steps])
    arm_cost, arm_quality = table.cost_usd[rows].mean(axis=0), table.quality[rows].mean(axis=0)
    assert found.utility == pytest.approx(np.mean(gained))
    assert found.regret == pytest.approx(np.mean(could) - np.mean(gained))
    assert found.quality == pytest.approx(np.mean([table.quality[r, a] for r, a, _ in steps]))
    assert found.cost_usd == pytest.approx(mean_cost)
    assert found.latency_ms == pytest.approx(np.mean([table.latency_ms[r, a] for r, a, _ in steps]))
    assert_allclose(found.shares, [np.mean([a == arm for _, a, _ in steps]) for arm in models])
    assert found.best_single.arm == f"arm {np.argmax(singles)}"
    assert found.best_single.utility == pytest.approx(max(singles))
    assert found.cheapest.arm == f"arm {np.argmin(arm_cost)}"
    assert found.oracle.utility == pytest.approx(np.mean(top))
    assert found.zero_router.quality == pytest.approx(
        zero_router(arm_cost, arm_quality, at_cost_usd=mean_cost)
    )
    assert found.decisions_per_second == 15.0


def test_always_choosing_the_best_single_arm_has_no_regret():
    table = a_table(1)
    table.quality[:, 2] = 1.0
    table.cost_usd[:, 2] = 1e-5

    found = measured(table, played(table, TURNS[:2], arms=np.full(30, 2)), NORMALISER)

    assert found.regret == 0.0
    assert found.best_single.arm == "arm 2"


def test_without_latency_everything_else_is_measured():
    table = a_table(2, latency=False)

    found = measured(table, played(table, TURNS[:2]), NORMALISER)

    assert found.latency_ms is None
    assert np.isfinite([found.utility, found.regret]).all()


def test_a_preference_for_latency_needs_a_table_with_latency():
    table = a_table(2, latency=False)

    with pytest.raises(ValueError, match="a table with latency"):
        measured(table, played(table, TURNS), NORMALISER)


def test_a_latency_missing_here_and_there_does_not_touch_those_who_do_not_want_it():
    whole, holed = a_table(3), a_table(3)
    holed.latency_ms[4, 0] = np.nan

    with_holes, without = (
        measured(table, played(table, TURNS[:2]), NORMALISER) for table in (holed, whole)
    )

    assert with_holes.regret == without.regret


def test_only_the_given_positions_are_measured():
    table = a_table(4)
    one = played(table, TURNS[:1])

    found = measured(table, one, NORMALISER, positions=np.array([3]))

    assert found.quality == table.quality[one.stream.rows[3], one.arms[3]]


def test_the_spread_over_seeds_is_the_sample_deviation():
    """1, 2, 3: mean 2, deviation 1; of a single seed there is none."""
    assert (spread([1, 2, 3]).mean, spread([1, 2, 3]).std) == (2.0, 1.0)
    assert (spread([5]).mean, spread([5]).std) == (5.0, 0.0)
