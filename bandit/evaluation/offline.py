"""Priors for a policy's arms from a table of recorded outcomes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bandit.domain.errors import InvalidInput
from bandit.domain.objective import Objective
from bandit.domain.offline_prior import OfflinePrior
from bandit.domain.policy import PolicySettings
from bandit.domain.price import Price
from bandit.evaluation.in_process import table_contexts
from bandit.evaluation.table import OutcomeTable, read_table
from bandit.features.encoder import Encoder
from bandit.features.schema import schema_of
from bandit.kernels.jit import Array
from bandit.learning.offline import offline_prior
from bandit.learning.targets import target_of


def read_recorded(path: Path, names: Sequence[str]) -> OutcomeTable:
    """
    The table of those among the names that the file has as models, see `read_table`.

    A query that lacks one of these models is left out.
    """
    try:
        recorded = set(pq.read_table(path, columns=["model"])["model"].to_pylist())
    except (OSError, pa.ArrowInvalid, KeyError):
        return read_table(path)  # which says what is wrong with the file
    models = [name for name in names if name in recorded]
    if not models:
        raise InvalidInput(
            "arms", f"{path.name} has no model named like an arm: {sorted(recorded)}"
        )
    return read_table(path, arms=models)


def prior_contexts(
    table: OutcomeTable, settings: PolicySettings, encoder: Encoder, vectors: Array | None
) -> NDArray[np.float32]:
    """
    (queries, features): the contexts of a table's queries as the policy makes them.

    A named feature, of which the table knows nothing, has its usual value: 0 when standardised.
    """
    context = settings.context
    unnamed = replace(settings, context=replace(context, named=()))
    contexts = table_contexts(table, unnamed, encoder, vectors)
    return np.insert(contexts, [contexts.shape[1] - 1] * len(context.named), 0, axis=1)


def offline_priors(
    table: OutcomeTable,
    contexts: NDArray[np.float32],
    settings: PolicySettings,
    prices: Mapping[str, Price],
    *,
    strength: float,
) -> dict[str, dict[Objective, OfflinePrior]]:
    """
    A prior per model of the table and per head that the policy learns, where it was measured.

    contexts  (queries, features) of the policy's schema
    prices    those that the arms will have; costs are learned relative to them, and where there is
              none relative to `unpriced_list_usd`; without that either, the cost has no prior
    """
    schema_id = schema_of(settings.context).id
    priors: dict[str, dict[Objective, OfflinePrior]] = {}
    for position, model in enumerate(table.models):
        lists = _lists(table, prices.get(model), settings.unpriced_list_usd)
        measured: dict[Objective, Array | None] = {
            Objective.QUALITY: table.quality[:, position],
            Objective.COST: None if lists is None else table.cost_usd[:, position],
            Objective.LATENCY: None if table.latency_ms is None else table.latency_ms[:, position],
        }
        priors[model] = {}
        for objective in settings.objectives:
            values = measured[objective]
            if values is None or np.isnan(values).all():
                continue
            known = np.flatnonzero(~np.isnan(values))
            targets = np.array(
                [
                    target_of(
                        objective,
                        float(values[row]),
                        list_usd=1.0 if lists is None else float(lists[row]),
                        quality_prior_mean=settings.quality_prior_mean,
                    )
                    for row in known
                ]
            )
            priors[model][objective] = offline_prior(
                contexts[known], targets, schema_id, strength=strength
            )
    return priors


def _lists(table: OutcomeTable, price: Price | None, unpriced_usd: float | None) -> Array | None:
    """(queries,) the list price that each recorded cost is relative to; None: not known."""
    if price is None:
        return None if unpriced_usd is None else np.full(len(table), unpriced_usd)
    return np.array([price.list_usd(tokens) for tokens in table.request_tokens.tolist()])
