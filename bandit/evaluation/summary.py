"""A replay over many seeds, as numbers for people and for machines."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from bandit.evaluation.arena import arena_score
from bandit.evaluation.dial import Frontier
from bandit.evaluation.phases import Phase
from bandit.evaluation.regret import Measured, Reference
from bandit.evaluation.spread import Spread, spread
from bandit.policies.utility import Normaliser


@dataclass(frozen=True, slots=True)
class Summary:
    """
    Means and deviations over seeds; see `Measured` for the terms.

    queries           measured decisions per seed
    dropped           queries left out because a model is missing
    utilisation       mean cost over the budget's target; None: no target
    arena_score       of RouterArena, from the mean quality and cost
    over_zero_router  quality above that of the zero router at the same cost
    shares            arm to fraction of decisions, mean over seeds
    references        best_single, cheapest, zero_router, oracle, and whoever played beside;
                      means over seeds
    phases            between the events of a script
    frontier          the router at other trade-offs; None: not played
    """

    queries: int
    dropped: int
    seeds: int
    quality: Spread
    cost_usd: Spread
    latency_ms: Spread | None
    utility: Spread
    regret_per_step: Spread
    utilisation: Spread | None
    arena_score: Spread
    over_zero_router: Spread
    shares: dict[str, float]
    references: dict[str, Reference]
    normaliser: Normaliser
    decisions_per_second: float
    phases: tuple[Phase, ...] = ()
    frontier: Frontier | None = None


def summary_of(
    passes: Sequence[Measured],
    *,
    rivals: Mapping[str, Sequence[Measured]],
    models: Sequence[str],
    dropped: int,
    normaliser: Normaliser,
    phases: tuple[Phase, ...] = (),
    frontier: Frontier | None = None,
) -> Summary:
    """The summary of one `Measured` per seed; `rivals` played the same streams."""
    shares = np.mean([one.shares for one in passes], axis=0)
    latencies = [one.latency_ms for one in passes if one.latency_ms is not None]
    utilisations = [one.utilisation for one in passes if one.utilisation is not None]
    scores = [arena_score(one.quality, usd_per_thousand=one.cost_usd * 1000) for one in passes]
    return Summary(
        queries=passes[0].queries,
        dropped=dropped,
        seeds=len(passes),
        quality=spread([one.quality for one in passes]),
        cost_usd=spread([one.cost_usd for one in passes]),
        latency_ms=spread(latencies) if latencies else None,
        utility=spread([one.utility for one in passes]),
        regret_per_step=spread([one.regret for one in passes]),
        utilisation=spread(utilisations) if utilisations else None,
        arena_score=spread(scores),
        over_zero_router=spread([one.over_zero_router for one in passes]),
        shares={model: float(share) for model, share in zip(models, shares, strict=True)},
        references={
            "best_single": _mean([one.best_single for one in passes]),
            "cheapest": _mean([one.cheapest for one in passes]),
            "zero_router": _mean([one.zero_router for one in passes]),
            "oracle": _mean([one.oracle for one in passes]),
            **{name: _mean([_played(one) for one in played]) for name, played in rivals.items()},
        },
        normaliser=normaliser,
        decisions_per_second=float(np.mean([one.decisions_per_second for one in passes])),
        phases=phases,
        frontier=frontier,
    )


def _played(one: Measured) -> Reference:
    return Reference("", one.quality, one.cost_usd, one.utility, one.regret, one.over_zero_router)


def _mean(references: Sequence[Reference]) -> Reference:
    """The arm that was the reference in most passes, and the means of its numbers there."""
    arms = [reference.arm for reference in references]
    commonest = max(sorted(set(arms)), key=arms.count)
    kept = [reference for reference in references if reference.arm == commonest]
    numbers = {
        field.name: float(np.mean([getattr(reference, field.name) for reference in kept]))
        for field in fields(Reference)
        if field.name != "arm"
    }
    return Reference(arm=commonest, **numbers)


def as_json(summary: Summary) -> dict[str, Any]:
    """The summary as JSON values; what has no value is left out."""
    result: dict[str, Any] = _valued(asdict(summary))
    for name in ("phases", "frontier"):
        result.pop(name, None)
    result["normaliser"] = {
        "cost_form": summary.normaliser.cost_form.value,
        "cost_range_usd": [summary.normaliser.cost_range.low, summary.normaliser.cost_range.high],
        "latency_range_ms": [
            summary.normaliser.latency_range.low,
            summary.normaliser.latency_range.high,
        ],
    }
    if summary.phases:
        result["phases"] = [_valued(asdict(phase)) for phase in summary.phases]
    if summary.frontier is not None:
        result |= _frontier(summary.frontier)
    return result


def _frontier(frontier: Frontier) -> dict[str, Any]:
    return {
        "aiq": {
            "over_range": asdict(frontier.over_range),
            "by_largest_cost": asdict(frontier.by_largest_cost),
            "zero_router": asdict(frontier.zero_router),
            "cost_range_usd": [frontier.low_usd, frontier.high_usd],
        },
        "frontier": [
            {
                frontier.dial.value: point.setting,
                "quality": asdict(point.quality),
                "cost_usd": asdict(point.cost_usd),
                "utility": asdict(point.utility),
            }
            for point in frontier.points
        ],
    }


def _valued(value: Any) -> Any:
    """Without what is None, empty text or not a number, at any depth."""
    if not isinstance(value, dict):
        return value
    kept = {name: _valued(item) for name, item in value.items()}
    return {
        name: item
        for name, item in kept.items()
        if item is not None and item != "" and item == item  # NaN equals nothing
    }
