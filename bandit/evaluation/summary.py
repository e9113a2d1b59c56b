"""A replay over many seeds, as numbers for people and for machines."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bandit.evaluation.regret import Measured, Reference, Spread, spread
from bandit.policies.utility import Normaliser


@dataclass(frozen=True, slots=True)
class Summary:
    """
    Means and deviations over seeds; see `Measured` for the terms.

    queries      measured decisions per seed
    dropped      queries left out because a model is missing
    shares       arm to fraction of decisions, mean over seeds
    references   best_single, cheapest, zero_router, oracle; means over seeds
    """

    queries: int
    dropped: int
    seeds: int
    quality: Spread
    cost_usd: Spread
    latency_ms: Spread | None
    utility: Spread
    regret_per_step: Spread
    shares: dict[str, float]
    references: dict[str, Reference]
    normaliser: Normaliser
    decisions_per_second: float


def summary_of(
    passes: Sequence[Measured],
    *,
    models: Sequence[str],
    queries: int,
    dropped: int,
    normaliser: Normaliser,
) -> Summary:
    """The summary of one `Measured` per seed."""
    shares = np.mean([one.shares for one in passes], axis=0)
    latencies = [one.latency_ms for one in passes if one.latency_ms is not None]
    return Summary(
        queries=queries,
        dropped=dropped,
        seeds=len(passes),
        quality=spread([one.quality for one in passes]),
        cost_usd=spread([one.cost_usd for one in passes]),
        latency_ms=spread(latencies) if latencies else None,
        utility=spread([one.utility for one in passes]),
        regret_per_step=spread([one.regret for one in passes]),
        shares={model: float(share) for model, share in zip(models, shares, strict=True)},
        references={
            "best_single": _mean([one.best_single for one in passes]),
            "cheapest": _mean([one.cheapest for one in passes]),
            "zero_router": _mean([one.zero_router for one in passes]),
            "oracle": _mean([one.oracle for one in passes]),
        },
        normaliser=normaliser,
        decisions_per_second=float(np.mean([one.decisions_per_second for one in passes])),
    )


def _mean(references: Sequence[Reference]) -> Reference:
    """The arm that was the reference in most passes, and the means of its numbers there."""
    arms = [reference.arm for reference in references]
    commonest = max(sorted(set(arms)), key=arms.count)
    references = [reference for reference in references if reference.arm == commonest]
    return Reference(
        arm=commonest,
        quality=float(np.mean([reference.quality for reference in references])),
        cost_usd=float(np.mean([reference.cost_usd for reference in references])),
        utility=float(np.mean([reference.utility for reference in references])),
    )


def as_json(summary: Summary) -> dict[str, Any]:
    """The summary as JSON values; what has no value is left out."""
    result = asdict(summary)
    for reference in result["references"].values():
        for name in ("arm", "utility"):
            if reference[name] == "" or reference[name] != reference[name]:
                del reference[name]
    if summary.latency_ms is None:
        del result["latency_ms"]
    result["normaliser"] = {
        "cost_form": summary.normaliser.cost_form.value,
        "cost_range_usd": [summary.normaliser.cost_range.low, summary.normaliser.cost_range.high],
        "latency_range_ms": [
            summary.normaliser.latency_range.low,
            summary.normaliser.latency_range.high,
        ],
    }
    return result
