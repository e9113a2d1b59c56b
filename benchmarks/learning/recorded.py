"""The recorded tables, read and encoded once, under the shipped defaults."""

import os
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bandit.domain.budget import Budget
from bandit.domain.policy import PolicySettings, Range
from bandit.domain.preference import Preference
from bandit.domain.price import Price
from bandit.evaluation.in_process import table_contexts
from bandit.evaluation.stream import StreamSettings
from bandit.evaluation.table import OutcomeTable, read_prices, read_table, subset
from bandit.evaluation.trial import Trial
from bandit.evaluation.wheel import wheel_table
from bandit.features.encoder import WordLlamaEncoder
from bandit.kernels.jit import Array
from bandit.policies.utility import Normaliser

QUALITY_ALONE = Preference(quality=1.0)
SHORT = {"routerbench": "rb", "paretobandit": "pb", "bfcl": "bfcl"}


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """
    A table with everything that a replay of it needs.

    first     so many rows come before the measured ones
    """

    table: OutcomeTable
    contexts: NDArray[np.float32]
    settings: PolicySettings
    prices: dict[str, Price]
    first: int = 0

    @property
    def normaliser(self) -> Normaliser:
        """What utilities are measured with."""
        assert self.settings.cost_range is not None  # noqa: S101 - set where it is made
        return Normaliser(self.settings.cost_range, self.settings.latency_range_ms)

    def trial(self, stream: StreamSettings, **changes: object) -> Trial:
        """A replay under the shipped defaults."""
        made = Trial(
            self.table, self.contexts, self.settings, self.prices, stream, warmup=self.first
        )
        return replace(made, **changes)  # type: ignore[arg-type]

    def under_budget(self, target_usd: float, **changes: object) -> Trial:
        """A replay under a target, USD per decision."""
        stream = StreamSettings(tradeoffs=(QUALITY_ALONE,))
        return self.trial(stream, budget=Budget(target_usd=target_usd), **changes)

    def budgets(self) -> Array:
        """(7,) targets, evenly spaced in their logarithm from the cheapest to the dearest arm."""
        mean_cost = self.table.cost_usd.mean(axis=0)
        result: Array = np.geomspace(mean_cost.min(), mean_cost.max(), 7)
        return result


def folder() -> Path:
    """Where the recorded tables lie; KeyError where nobody said so."""
    return Path(os.environ["BANDIT_DATA"])


@lru_cache(maxsize=1)
def encoder() -> WordLlamaEncoder:
    """The encoder of the shipped defaults."""
    return WordLlamaEncoder()


@lru_cache(maxsize=8)
def recorded(name: str) -> Recorded:
    """`routerbench`, `paretobandit` (four models) or `bfcl`, whole."""
    return _with_contexts(read_table(folder() / f"{name}.parquet"))


@lru_cache(maxsize=2)
def pareto_protocol(*, has_validation: bool) -> Recorded:
    """
    The three models of the `paretobandit` package on its test split, after its validation split
    where that is wanted.
    """
    path = folder() / "paretobandit.parquet"
    table = read_table(path, arms=wheel_table()[0].models)
    rows = pq.read_table(path, columns=["query_id", "split"])
    split_of = dict(zip(rows["query_id"].to_pylist(), rows["split"].to_pylist(), strict=True))
    split = np.array([split_of[query] for query in table.query_ids])
    first = np.flatnonzero(split == "val") if has_validation else np.array([], dtype=np.int64)
    order = np.concatenate([first, np.flatnonzero(split == "test")])
    return replace(_with_contexts(subset(table, order)), first=len(first))


def halves(name: str, *, seed: int) -> tuple[Recorded, Recorded]:
    """The table split at random into two."""
    whole = recorded(name)
    order = np.random.default_rng([seed, 7]).permutation(len(whole.table))
    parts = []
    for rows in (order[: len(order) // 2], order[len(order) // 2 :]):
        parts.append(replace(whole, table=subset(whole.table, rows), contexts=whole.contexts[rows]))
    return parts[0], parts[1]


def _with_contexts(table: OutcomeTable) -> Recorded:
    prices = read_prices(folder() / "prices.csv", table.models)
    tokens = float(table.request_tokens.mean())
    lists = [price.list_usd(tokens) for price in prices.values()]
    settings = PolicySettings(cost_range=Range(min(lists) / 3, 3 * max(lists)))
    return Recorded(table, table_contexts(table, settings, encoder(), None), settings, prices)
