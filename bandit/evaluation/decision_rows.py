"""A replay's decisions as a table, one row each."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bandit.evaluation.outcomes import outcomes_at
from bandit.evaluation.regret import utilities_at
from bandit.evaluation.replay import Played
from bandit.evaluation.table import OutcomeTable
from bandit.policies.utility import Normaliser


def write_decisions(
    path: Path, table: OutcomeTable, normaliser: Normaliser, passes: Sequence[Played]
) -> None:
    """One row per measured decision, Parquet; outcomes as they were under the script."""
    parts = []
    for one in passes:
        stream = one.stream
        at = np.arange(stream.learn_first, len(stream))
        arms = one.arms[at]
        outcomes = outcomes_at(table, stream, one.script, at)
        tradeoffs = [stream.tradeoffs[position] for position in at]
        utility = utilities_at(outcomes, tradeoffs, normaliser)
        every = np.arange(len(at))
        columns = {
            "seed": np.full(len(at), stream.seed),
            "position": at,
            "query_id": [table.query_ids[row] for row in stream.rows[at]],
            "arm": [table.models[arm] for arm in arms],
            "propensity": one.propensities[at],
            "score": outcomes.quality[every, arms],
            "cost_usd": outcomes.cost_usd[every, arms],
            "utility": utility[every, arms],
            "predicted_quality": one.predicted[at, 0],
            "predicted_cost_usd": one.predicted[at, 1],
            "predicted_latency_ms": one.predicted[at, 2],
        }
        parts.append(pa.table(columns))
    pq.write_table(pa.concat_tables(parts), path)
