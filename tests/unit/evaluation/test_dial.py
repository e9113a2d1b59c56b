from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bandit.domain.budget import Budget
from bandit.domain.errors import InvalidInput
from bandit.domain.preference import Preference
from bandit.evaluation.aiq import aiq
from bandit.evaluation.dial import COST_WEIGHTS, Dial, dial_of, frontier_of, settings_of, trial_at
from bandit.evaluation.regret import measured
from bandit.evaluation.runs import run_each
from bandit.evaluation.script import Script
from tests.unit.evaluation.test_drift import NORMALISER, a_trial


@pytest.fixture(scope="module")
def trial():
    made = a_trial(Script(), steps=60)
    made.table.cost_usd[:] = [4e-3, 1e-3, 2.5e-4]
    return made


def test_without_a_budget_the_weight_of_cost_is_dialled(trial):
    assert dial_of(trial) is Dial.COST_WEIGHT
    assert settings_of(trial) == COST_WEIGHTS
    assert trial_at(trial, 0.3).stream.tradeoffs == (Preference(quality=0.7, cost=0.3),)


def test_with_a_budget_targets_lie_between_the_cheapest_and_the_dearest_arm(trial):
    with_budget = replace(trial, budget=Budget(target_usd=1e-3))

    settings = settings_of(with_budget)

    assert dial_of(with_budget) is Dial.BUDGET
    assert (settings[0], settings[-1]) == pytest.approx((2.5e-4, 4e-3))
    assert_allclose(np.diff(np.log(settings)), np.log(16) / 6)
    assert trial_at(with_budget, settings[2]).budget == Budget(target_usd=settings[2])


def test_arms_of_one_cost_have_no_frontier():
    with pytest.raises(InvalidInput, match="differ in what they cost"):
        settings_of(a_trial(Script(), steps=10))


def test_the_frontier_is_made_of_the_passes_at_every_setting(trial):
    weights = (0.0, 0.9)
    passes = run_each([trial_at(trial, weight) for weight in weights], [1, 2], processes=1)
    each = [[measured(trial.table, one, NORMALISER) for one in seeds] for seeds in passes]

    found = frontier_of(Dial.COST_WEIGHT, weights, each)

    assert [point.setting for point in found.points] == list(weights)
    assert found.points[0].quality.mean == pytest.approx(np.mean([m.quality for m in each[0]]))
    assert found.points[0].cost_usd.mean > found.points[1].cost_usd.mean
    by_seed = [
        aiq(
            np.array([one[seed].cost_usd for one in each]),
            np.array([one[seed].quality for one in each]),
            low_usd=2.5e-4,
            high_usd=4e-3,
        )
        for seed in range(2)
    ]
    assert found.over_range.mean == pytest.approx(np.mean([one.over_range for one in by_seed]))
    assert (found.low_usd, found.high_usd) == pytest.approx((2.5e-4, 4e-3))
    singles = aiq(
        np.array([4e-3, 1e-3, 2.5e-4]), np.array([0.95, 0.8, 0.2]), low_usd=2.5e-4, high_usd=4e-3
    )
    assert found.zero_router.over_range == pytest.approx(singles.over_range)
