"""What every model would have given at positions of a stream, with the script's factors in it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bandit.evaluation.script import Script, conditions_of
from bandit.evaluation.stream import Stream
from bandit.evaluation.table import OutcomeTable
from bandit.kernels.jit import Array


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """
    Effective outcomes, (decisions, models) each.

    latency_ms  None where it was not measured
    is_present  whether the model could be chosen at that decision
    """

    quality: Array
    cost_usd: Array
    latency_ms: Array | None
    is_present: NDArray[np.bool_]


def outcomes_at(
    table: OutcomeTable, stream: Stream, script: Script, positions: NDArray[np.int64]
) -> Outcomes:
    """The recorded outcomes times the factors in force at each position of the stream."""
    conditions = conditions_of(script, table.models)
    state = conditions.state_at(positions - stream.learn_first)
    rows = stream.rows[positions]
    return Outcomes(
        quality=np.minimum(table.quality[rows] * conditions.quality[state], 1.0),
        cost_usd=table.cost_usd[rows] * (conditions.price * conditions.cost)[state],
        latency_ms=None if table.latency_ms is None else table.latency_ms[rows],
        is_present=conditions.is_present[state],
    )
