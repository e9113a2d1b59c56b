"""A replay piece by piece, between the events of its script."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bandit.domain.budget import Budget
from bandit.evaluation.regret import measured
from bandit.evaluation.replay import Played
from bandit.evaluation.spread import Spread, spread
from bandit.evaluation.table import OutcomeTable
from bandit.policies.utility import Normaliser


@dataclass(frozen=True, slots=True)
class Phase:
    """
    Means over the measured decisions from `start` up to `end`, and deviations over seeds.

    changes      what changed at `start`, in words
    utilisation  mean cost over the budget's target; None: no target
    shares       arm to fraction of decisions
    """

    start: int
    end: int
    changes: tuple[str, ...]
    queries: int
    quality: Spread
    cost_usd: Spread
    utility: Spread
    regret_per_step: Spread
    utilisation: Spread | None
    shares: dict[str, float]


def phases_of(
    table: OutcomeTable,
    passes: Sequence[Played],
    normaliser: Normaliser,
    *,
    budget: Budget | None = None,
) -> tuple[Phase, ...]:
    """The phases of passes under one script; none without events."""
    script, stream = passes[0].script, passes[0].stream
    if not script.events:
        return ()
    steps = len(stream) - stream.learn_first
    edges = sorted({0, *script.positions, steps})
    phases = []
    for start, end in pairwise(edges):
        positions = stream.learn_first + np.arange(start, end)
        each = [
            measured(table, one, normaliser, positions=positions, budget=budget) for one in passes
        ]
        shares = np.mean([one.shares for one in each], axis=0)
        utilisations = [one.utilisation for one in each if one.utilisation is not None]
        phases.append(
            Phase(
                start=start,
                end=end,
                changes=tuple(str(event) for event in script.at(start)),
                queries=end - start,
                quality=spread([one.quality for one in each]),
                cost_usd=spread([one.cost_usd for one in each]),
                utility=spread([one.utility for one in each]),
                regret_per_step=spread([one.regret for one in each]),
                utilisation=spread(utilisations) if utilisations else None,
                shares=dict(zip(table.models, shares.tolist(), strict=True)),
            )
        )
    return tuple(phases)
