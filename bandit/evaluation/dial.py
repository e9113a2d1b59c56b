"""The router at many trade-offs: the points of its frontier, and their AIQ."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from bandit.domain.budget import Budget
from bandit.domain.errors import InvalidInput
from bandit.domain.preference import Preference
from bandit.evaluation.aiq import Aiq, aiq
from bandit.evaluation.regret import Measured
from bandit.evaluation.spread import Spread, spread
from bandit.evaluation.trial import Trial

COST_WEIGHTS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8)
BUDGETS = 7


class Dial(StrEnum):
    """What is turned."""

    COST_WEIGHT = "cost_weight"
    BUDGET = "budget_usd"


@dataclass(frozen=True, slots=True)
class Point:
    """The router at one setting of the dial, means and deviations over seeds."""

    setting: float
    quality: Spread
    cost_usd: Spread
    utility: Spread


@dataclass(frozen=True, slots=True)
class Frontier:
    """
    What the router reaches as the dial is turned, and its AIQ (see `aiq.py`).

    over_range, by_largest_cost  the two forms of the AIQ
    zero_router                  that of the best fixed mixes of single arms
    low_usd, high_usd            the range of both: mean cost of the cheapest and the dearest arm
    """

    dial: Dial
    points: tuple[Point, ...]
    over_range: Spread
    by_largest_cost: Spread
    zero_router: Aiq
    low_usd: float
    high_usd: float


def dial_of(trial: Trial) -> Dial:
    """A trial with a budget is dialled by budgets, any other by the weight of cost."""
    return Dial.COST_WEIGHT if trial.budget is None else Dial.BUDGET


def settings_of(trial: Trial) -> tuple[float, ...]:
    """Where the dial is set: cost weights, or USD between the cheapest and the dearest arm's."""
    costs = trial.table.cost_usd[trial.warmup :].mean(axis=0)
    if not 0 < costs.min() < costs.max():
        raise InvalidInput("--frontier", "needs models that differ in what they cost")
    if dial_of(trial) is Dial.COST_WEIGHT:
        return COST_WEIGHTS
    return tuple(np.geomspace(costs.min(), costs.max(), BUDGETS).tolist())


def trial_at(trial: Trial, setting: float) -> Trial:
    """The same trial with the dial set there."""
    if dial_of(trial) is Dial.BUDGET:
        return replace(trial, budget=Budget(target_usd=setting))
    tradeoffs = (Preference(quality=1 - setting, cost=setting),)
    return replace(trial, stream=replace(trial.stream, tradeoffs=tradeoffs))


def frontier_of(
    dial: Dial, settings: Sequence[float], passes: Sequence[Sequence[Measured]]
) -> Frontier:
    """The frontier from the passes at every setting, one per seed each."""
    ours, mixes, lows, highs = [], [], [], []
    for seed in range(len(passes[0])):
        single = passes[0][seed]
        arms = ~np.isnan(single.single_cost_usd)
        costs = single.single_cost_usd[arms]
        low, high = float(costs.min()), float(costs.max())
        cost = np.array([each[seed].cost_usd for each in passes])
        quality = np.array([each[seed].quality for each in passes])
        ours.append(aiq(cost, quality, low_usd=low, high_usd=high))
        mixes.append(aiq(costs, single.single_quality[arms], low_usd=low, high_usd=high))
        lows.append(low)
        highs.append(high)
    return Frontier(
        dial=dial,
        points=tuple(
            Point(
                setting=setting,
                quality=spread([one.quality for one in each]),
                cost_usd=spread([one.cost_usd for one in each]),
                utility=spread([one.utility for one in each]),
            )
            for setting, each in zip(settings, passes, strict=True)
        ),
        over_range=spread([one.over_range for one in ours]),
        by_largest_cost=spread([one.by_largest_cost for one in ours]),
        zero_router=Aiq(
            float(np.mean([one.over_range for one in mixes])),
            float(np.mean([one.by_largest_cost for one in mixes])),
        ),
        low_usd=float(np.mean(lows)),
        high_usd=float(np.mean(highs)),
    )
