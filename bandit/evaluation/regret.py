"""What a replay gained: quality, cost, utility and regret, beside references that know more."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bandit.domain.preference import Preference, Tradeoff
from bandit.evaluation.frontier import zero_router
from bandit.evaluation.replay import Played
from bandit.evaluation.table import OutcomeTable
from bandit.kernels.jit import Array
from bandit.policies.utility import Normaliser, utility_of


@dataclass(frozen=True, slots=True)
class Reference:
    """What somebody with full knowledge gets on the measured queries; arm "" for mixes."""

    arm: str
    quality: float
    cost_usd: float
    utility: float


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """
    Means over the measured decisions of one pass.

    regret       utility lost per decision against the best single arm for each preference
    shares       (models,) fraction of decisions
    best_single  the arm with the highest mean utility in hindsight
    cheapest     the arm with the lowest mean cost
    zero_router  the best random mix of single arms at the same mean cost (its utility is not
                 defined by the mix's quality alone: NaN)
    oracle       the best arm of every query: mostly noise, unattainable
    """

    quality: float
    cost_usd: float
    latency_ms: float | None
    utility: float
    regret: float
    shares: Array
    best_single: Reference
    cheapest: Reference
    zero_router: Reference
    oracle: Reference
    decisions_per_second: float


def utilities_of(
    table: OutcomeTable,
    rows: NDArray[np.int64],
    tradeoffs: Sequence[Tradeoff],
    normaliser: Normaliser,
) -> Array:
    """(decisions, models): the utility that each model's recorded outcome would have given."""
    quality, cost_usd = table.quality[rows], table.cost_usd[rows]
    latency_ms = None if table.latency_ms is None else table.latency_ms[rows]
    result = np.empty(quality.shape)
    # Few distinct trade-offs are scored at once, many one by one.
    for tradeoff, at in _positions(tradeoffs).items():
        if isinstance(tradeoff, Preference) and tradeoff.latency > 0 and latency_ms is None:
            raise ValueError("a preference for latency needs a table with latency")
        slow = np.ones_like(cost_usd[at]) if latency_ms is None else latency_ms[at]
        result[at] = utility_of(quality[at], cost_usd[at], slow, tradeoff, normaliser)
    return result


def _positions(tradeoffs: Sequence[Tradeoff]) -> dict[Tradeoff, NDArray[np.int64]]:
    found: dict[Tradeoff, list[int]] = {}
    for position, tradeoff in enumerate(tradeoffs):
        found.setdefault(tradeoff, []).append(position)
    return {tradeoff: np.array(at) for tradeoff, at in found.items()}


def measured(
    table: OutcomeTable,
    played: Played,
    normaliser: Normaliser,
    *,
    positions: NDArray[np.int64] | None = None,
) -> Measured:
    """
    The means over `positions` of the stream (default: all after `learn_first`).

    The best single arm for a preference is chosen by its mean utility over the same queries.
    """
    stream = played.stream
    if positions is None:
        positions = np.arange(stream.learn_first, len(stream))
    rows, arms = stream.rows[positions], played.arms[positions]
    tradeoffs = [stream.tradeoffs[position] for position in positions]
    utility = utilities_of(table, rows, tradeoffs, normaliser)
    every = np.arange(len(rows))
    quality, cost = table.quality[rows], table.cost_usd[rows]
    arm_quality, arm_cost = quality.mean(axis=0), cost.mean(axis=0)
    mean_cost = float(cost[every, arms].mean())
    best_utility = _best_single_utility(table, rows, tradeoffs, utility, normaliser)

    def single(arm: int) -> Reference:
        return Reference(
            table.models[arm],
            float(arm_quality[arm]),
            float(arm_cost[arm]),
            float(utility[:, arm].mean()),
        )

    best_of_each = utility.argmax(axis=1)
    latency = None if table.latency_ms is None else table.latency_ms[rows][every, arms]
    return Measured(
        quality=float(quality[every, arms].mean()),
        cost_usd=mean_cost,
        latency_ms=None if latency is None else float(np.nanmean(latency)),
        utility=float(utility[every, arms].mean()),
        regret=float((best_utility - utility[every, arms]).mean()),
        shares=np.bincount(arms, minlength=len(table.models)) / len(arms),
        best_single=single(int(utility.mean(axis=0).argmax())),
        cheapest=single(int(arm_cost.argmin())),
        zero_router=Reference(
            "", zero_router(arm_cost, arm_quality, at_cost_usd=mean_cost), mean_cost, float("nan")
        ),
        oracle=Reference(
            "",
            float(quality[every, best_of_each].mean()),
            float(cost[every, best_of_each].mean()),
            float(utility.max(axis=1).mean()),
        ),
        decisions_per_second=len(stream) / played.seconds,
    )


def _best_single_utility(
    table: OutcomeTable,
    rows: NDArray[np.int64],
    tradeoffs: Sequence[Tradeoff],
    utility: Array,
    normaliser: Normaliser,
) -> Array:
    """
    (decisions,) utility of the arm that is best on average for each decision's preference.

    A utility is linear in the preference, so an arm's mean under any w follows from its means
    under (1, 0, 0), (0, 1, 0) and (0, 0, 1).
    """
    if all(isinstance(tradeoff, Preference) for tradeoff in tradeoffs):
        weights = np.array([t.weights for t in tradeoffs if isinstance(t, Preference)])
        corners = np.zeros((3, len(table.models)))
        for objective, corner in enumerate(np.eye(3)):
            if not weights[:, objective].any():
                continue  # latency may not have been measured, wholly or here and there
            pure = [Preference(*corner)] * len(rows)
            corners[objective] = utilities_of(table, rows, pure, normaliser).mean(axis=0)
        best = (weights @ corners).argmax(axis=1)
        result: Array = utility[np.arange(len(rows)), best]
        return result
    result = np.empty(len(rows))
    for at in _positions(tradeoffs).values():
        result[at] = utility[at, utility[at].mean(axis=0).argmax()]
    return result


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and sample standard deviation over seeds."""

    mean: float
    std: float


def spread(values: Sequence[float]) -> Spread:
    """The spread of one number per seed; a single seed has no deviation."""
    array = np.array(values, dtype=np.float64)
    return Spread(float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else 0.0)
