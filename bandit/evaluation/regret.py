"""What a replay gained: quality, cost, utility and regret, beside references that know more."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bandit.domain.budget import Budget
from bandit.domain.preference import Preference, Tradeoff
from bandit.evaluation.frontier import mixed_hull
from bandit.evaluation.outcomes import Outcomes, outcomes_at
from bandit.evaluation.replay import Played
from bandit.evaluation.table import OutcomeTable
from bandit.kernels.jit import Array
from bandit.policies.utility import Normaliser, utility_of

NOT_DEFINED = float("nan")


@dataclass(frozen=True, slots=True)
class Reference:
    """
    What somebody else gets on the measured queries; arm "" for whoever does not keep to one.

    regret, over_zero_router  NaN where nobody played it
    """

    arm: str
    quality: float
    cost_usd: float
    utility: float
    regret: float = NOT_DEFINED
    over_zero_router: float = NOT_DEFINED


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """
    Means over the measured decisions of one pass.

    Where arms come and go, every reference chooses anew from those that are there, each time.
    regret           utility lost per decision against the best single arm for each preference
    shares           (models,) fraction of decisions
    single_quality   (models,) mean of each arm on its own, while it is there; NaN: never
    single_cost_usd  (models,) likewise
    best_single      the arm with the highest mean utility in hindsight
    cheapest         the arm with the lowest mean cost
    zero_router      the best random mix of single arms at the same mean cost (its utility is not
                     defined by the mix's quality alone: NaN)
    oracle           the best arm of every query: mostly noise, unattainable
    utilisation      mean cost over the budget's target; None: no target
    """

    queries: int
    quality: float
    cost_usd: float
    latency_ms: float | None
    utility: float
    regret: float
    shares: Array
    single_quality: Array
    single_cost_usd: Array
    best_single: Reference
    cheapest: Reference
    zero_router: Reference
    oracle: Reference
    decisions_per_second: float
    utilisation: float | None = None

    @property
    def over_zero_router(self) -> float:
        """Quality above that of the zero router at the same cost."""
        return self.quality - self.zero_router.quality


def utilities_of(
    table: OutcomeTable,
    rows: NDArray[np.int64],
    tradeoffs: Sequence[Tradeoff],
    normaliser: Normaliser,
) -> Array:
    """(decisions, models): the utility that each model's recorded outcome would have given."""
    outcomes = Outcomes(
        quality=table.quality[rows],
        cost_usd=table.cost_usd[rows],
        latency_ms=None if table.latency_ms is None else table.latency_ms[rows],
        is_present=np.ones((len(rows), len(table.models)), dtype=np.bool_),
    )
    return utilities_at(outcomes, tradeoffs, normaliser)


def utilities_at(
    outcomes: Outcomes, tradeoffs: Sequence[Tradeoff], normaliser: Normaliser
) -> Array:
    """(decisions, models): the utility that each model would have given, one trade-off each."""
    result = np.empty(outcomes.quality.shape)
    # Few distinct trade-offs are scored at once, many one by one.
    for tradeoff, at in _positions(tradeoffs).items():
        result[at] = _utilities_under(outcomes, at, tradeoff, normaliser)
    return result


def _utilities_under(
    outcomes: Outcomes, at: NDArray[np.int64], tradeoff: Tradeoff, normaliser: Normaliser
) -> Array:
    """(at, models) under one trade-off."""
    latency_ms = outcomes.latency_ms
    if isinstance(tradeoff, Preference) and tradeoff.latency > 0 and latency_ms is None:
        raise ValueError("a preference for latency needs a table with latency")
    cost_usd = outcomes.cost_usd[at]
    slow = np.ones_like(cost_usd) if latency_ms is None else latency_ms[at]
    return utility_of(outcomes.quality[at], cost_usd, slow, tradeoff, normaliser)


def _positions(tradeoffs: Sequence[Tradeoff]) -> dict[Tradeoff, NDArray[np.int64]]:
    found: dict[Tradeoff, list[int]] = {}
    for position, tradeoff in enumerate(tradeoffs):
        found.setdefault(tradeoff, []).append(position)
    return {tradeoff: np.array(at) for tradeoff, at in found.items()}


@dataclass(frozen=True, slots=True, eq=False)
class _Scored:
    """
    The measured decisions of a pass, and what every arm would have given.

    arms     (decisions,) chosen
    utility  (decisions, models)
    """

    outcomes: Outcomes
    tradeoffs: Sequence[Tradeoff]
    arms: NDArray[np.int64]
    utility: Array

    def stretches(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Decisions at which the same arms are there, and those arms."""
        patterns, pattern_of = np.unique(self.outcomes.is_present, axis=0, return_inverse=True)
        for number, pattern in enumerate(patterns):
            yield np.flatnonzero(pattern_of.ravel() == number), np.flatnonzero(pattern)


def _scored(
    table: OutcomeTable,
    played: Played,
    normaliser: Normaliser,
    positions: NDArray[np.int64] | None,
) -> _Scored:
    stream = played.stream
    if positions is None:
        positions = np.arange(stream.learn_first, len(stream))
    outcomes = outcomes_at(table, stream, played.script, positions)
    tradeoffs = [stream.tradeoffs[position] for position in positions]
    utility = utilities_at(outcomes, tradeoffs, normaliser)
    return _Scored(outcomes, tradeoffs, played.arms[positions], utility)


def regrets_of(table: OutcomeTable, played: Played, normaliser: Normaliser) -> Array:
    """(measured,) utility lost at each measured decision against the best single arm."""
    scored = _scored(table, played, normaliser, None)
    gained = scored.utility[np.arange(len(scored.arms)), scored.arms]
    result: Array = _best_single_utility(scored, normaliser) - gained
    return result


def measured(
    table: OutcomeTable,
    played: Played,
    normaliser: Normaliser,
    *,
    positions: NDArray[np.int64] | None = None,
    budget: Budget | None = None,
) -> Measured:
    """
    The means over `positions` of the stream (default: all after `learn_first`).

    The best single arm for a preference is chosen by its mean utility over the same queries.
    """
    scored = _scored(table, played, normaliser, positions)
    outcomes, arms, utility = scored.outcomes, scored.arms, scored.utility
    every = np.arange(len(arms))
    best, cheapest = np.empty_like(arms), np.empty_like(arms)
    parts = []
    for at, present in scored.stretches():
        arm_cost = outcomes.cost_usd[np.ix_(at, present)].mean(axis=0)
        arm_quality = outcomes.quality[np.ix_(at, present)].mean(axis=0)
        best[at] = present[utility[np.ix_(at, present)].mean(axis=0).argmax()]
        cheapest[at] = present[arm_cost.argmin()]
        parts.append((len(at) / len(arms), arm_cost, arm_quality))
    best_of_each = np.where(outcomes.is_present, utility, -np.inf).argmax(axis=1)

    def always(chosen: NDArray[np.int64], *, is_named: bool = True) -> Reference:
        names = list(dict.fromkeys(table.models[arm] for arm in chosen)) if is_named else []
        return Reference(
            " then ".join(names),
            float(outcomes.quality[every, chosen].mean()),
            float(outcomes.cost_usd[every, chosen].mean()),
            float(utility[every, chosen].mean()),
        )

    gained = always(arms, is_named=False)
    regret = _best_single_utility(scored, normaliser).mean() - gained.utility
    latency = None if outcomes.latency_ms is None else outcomes.latency_ms[every, arms]
    target_usd = None if budget is None else budget.target_usd
    return Measured(
        queries=len(arms),
        quality=gained.quality,
        cost_usd=gained.cost_usd,
        latency_ms=None if latency is None else float(np.nanmean(latency)),
        utility=gained.utility,
        regret=float(regret),
        shares=np.bincount(arms, minlength=len(table.models)) / len(arms),
        single_quality=_while_there(outcomes.quality, outcomes.is_present),
        single_cost_usd=_while_there(outcomes.cost_usd, outcomes.is_present),
        best_single=always(best),
        cheapest=always(cheapest),
        zero_router=Reference(
            "",
            float(np.interp(gained.cost_usd, *mixed_hull(parts))),
            gained.cost_usd,
            NOT_DEFINED,
        ),
        oracle=always(best_of_each, is_named=False),
        decisions_per_second=len(played.stream) / played.seconds,
        utilisation=None if target_usd is None else gained.cost_usd / target_usd,
    )


def _while_there(values: Array, is_present: NDArray[np.bool_]) -> Array:
    """(models,) mean over the decisions at which the model is there."""
    count = is_present.sum(axis=0)
    total = np.where(is_present, values, 0.0).sum(axis=0)
    result: Array = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    return result


def _best_single_utility(scored: _Scored, normaliser: Normaliser) -> Array:
    """
    (decisions,) utility of the arm that is best on average for each decision's preference.

    A utility is linear in the preference, so an arm's mean under any w follows from its means
    under (1, 0, 0), (0, 1, 0) and (0, 0, 1).
    """
    result = np.empty(len(scored.arms))
    for at, present in scored.stretches():
        here = [scored.tradeoffs[position] for position in at]
        utility = scored.utility[np.ix_(at, present)]
        weights = np.array([t.weights for t in here if isinstance(t, Preference)])
        if len(weights) == len(here):
            corners = np.zeros((3, len(present)))
            for objective, corner in enumerate(np.eye(3)):
                if not weights[:, objective].any():
                    continue  # latency may not have been measured, wholly or here and there
                pure = _utilities_under(scored.outcomes, at, Preference(*corner), normaliser)
                corners[objective] = pure[:, present].mean(axis=0)
            best = (weights @ corners).argmax(axis=1)
            result[at] = utility[np.arange(len(at)), best]
            continue
        for within in _positions(here).values():
            result[at[within]] = utility[within, utility[within].mean(axis=0).argmax()]
    return result
