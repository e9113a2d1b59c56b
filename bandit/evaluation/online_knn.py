"""A rival that learns from its neighbours: the mean outcome of the nearest queries, per arm."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from bandit.domain.policy import PolicySettings
from bandit.domain.price import Price
from bandit.evaluation.replay import Arrival, Ask, Choice
from bandit.evaluation.stream import key_of
from bandit.evaluation.table import OutcomeTable
from bandit.kernels.jit import Array
from bandit.kernels.propensity import draw, greedy
from bandit.learning.targets import PRIOR_LATENCY_MS
from bandit.policies.draw import uniform_of
from bandit.policies.utility import Normaliser, cost_range_of, utility_of

NEIGHBOURS = 20
FEWEST = 5
EPSILON = 0.02
_QUALITY, _COST, _LATENCY = range(3)


class OnlineKnn:
    """
    Implements `ReplayRouter`: greedy on the neighbours' means, with a share of uniform choice.

    Neighbours are the `NEIGHBOURS` past queries, of those this arm answered and whose outcome has
    arrived, that have the largest cosine with the query's context (its constant left out).  Costs
    are averaged as multiples of the list price, so that a told price takes effect at once.  An arm
    with fewer than `FEWEST` outcomes in its neighbourhood counts as the policy's optimistic prior
    does: so every arm is tried, and where many outcomes are missing, tried again.

    It knows no budget: it takes the trade-off that the query brings.
    Source: the kNN router of RouterBench, Hu et al. (2024), 2403.12031, made online.
    """

    def __init__(
        self,
        table: OutcomeTable,
        contexts: NDArray[np.float32],
        settings: PolicySettings,
        prices: Mapping[str, Price],
        *,
        seed: int,
        models: Sequence[str] | None = None,
    ) -> None:
        count = len(table.models)
        self._models = list(table.models)
        self._tokens = table.request_tokens
        self._directions = _directions(contexts)
        self._normaliser = Normaliser(
            settings.cost_range or cost_range_of(prices.values()),
            settings.latency_range_ms,
            settings.cost_form,
        )
        self._prior = np.array([settings.quality_prior_mean, 1.0, PRIOR_LATENCY_MS])
        self._prices = [prices.get(model) for model in self._models]
        self._unpriced_usd = settings.unpriced_list_usd or self._normaliser.middle_usd
        self._is_present = np.array([models is None or name in models for name in self._models])
        self._key = key_of(seed)
        self._listed: dict[UUID, float] = {}  # list price of the chosen arm, decision by decision
        self._memories = [_Memory(self._directions.shape[1]) for _ in range(count)]

    def choose(self, asks: Sequence[Ask]) -> list[Choice]:
        """The best mean utility among the neighbours, ties shared, and `EPSILON` for all."""
        return [self._choose(ask) for ask in asks]

    def _choose(self, ask: Ask) -> Choice:
        direction = self._directions[ask.row]
        tokens = int(self._tokens[ask.row])
        lists = np.array(
            [self._unpriced_usd if p is None else p.list_usd(tokens) for p in self._prices]
        )
        expected = np.array([memory.expected(direction, self._prior) for memory in self._memories])
        expected[:, _COST] *= lists
        qualities, costs, latencies = expected.T
        utility = utility_of(qualities, costs, latencies, ask.tradeoff, self._normaliser)
        present = np.flatnonzero(self._is_present)
        propensities = np.zeros(len(utility))
        propensities[present] = (1 - EPSILON) * greedy(utility[present]) + EPSILON / len(present)
        arm = draw(propensities, uniform_of(self._key, ask.decision_id))
        self._listed[ask.decision_id] = float(lists[arm])
        quality, cost_usd, latency_ms = expected[arm].tolist()
        return Choice(arm, float(propensities[arm]), (quality, cost_usd, latency_ms))

    def report(self, arrivals: Sequence[Arrival]) -> None:
        """Remember what came back, under the direction of its query."""
        for arrival in arrivals:
            listed = self._listed.pop(arrival.decision_id)
            values = (arrival.quality, arrival.cost_usd / listed, arrival.latency_ms)
            self._memories[arrival.arm].remember(self._directions[arrival.row], values)

    def begin_measuring(self) -> None:
        """It keeps no account."""

    def set_price(self, model: str, price: Price) -> None:
        """What it remembers of costs are multiples of this."""
        self._prices[self._models.index(model)] = price

    def add_arm(self, model: str, price: Price | None) -> None:
        """A model that comes back finds what was remembered of it."""
        self._prices[self._models.index(model)] = price
        self._is_present[self._models.index(model)] = True

    def remove_arm(self, model: str) -> None:
        """It is remembered and not chosen."""
        self._is_present[self._models.index(model)] = False


class _Memory:
    """The queries that one arm answered, as directions, and what it gave; grows by doubling."""

    def __init__(self, features: int) -> None:
        self._size = 0
        self._directions = np.empty((64, features))
        self._values = np.empty((64, 3))  # NaN: not measured

    def remember(
        self, direction: Array, values: tuple[float | None, float | None, float | None]
    ) -> None:
        if self._size == len(self._values):
            self._directions = np.concatenate([self._directions, np.empty_like(self._directions)])
            self._values = np.concatenate([self._values, np.empty_like(self._values)])
        self._directions[self._size] = direction
        self._values[self._size] = [np.nan if value is None else value for value in values]
        self._size += 1

    def expected(self, direction: Array, prior: Array) -> Array:
        """(3,) means over the neighbours; the prior's where there are too few."""
        values = self._values[: self._size]
        if self._size > NEIGHBOURS:
            cosines = self._directions[: self._size] @ direction
            values = values[np.argpartition(cosines, -NEIGHBOURS)[-NEIGHBOURS:]]
        is_known = ~np.isnan(values)
        known = is_known.sum(axis=0)
        total = np.where(is_known, values, 0.0).sum(axis=0)
        result: Array = np.where(known >= FEWEST, total / np.maximum(known, 1), prior)
        return result


def _directions(contexts: NDArray[np.float32]) -> Array:
    """Contexts without their constant, brought to length 1; a zero context stays zero."""
    features = contexts[:, :-1].astype(np.float64)
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    result: Array = np.divide(features, norms, out=np.zeros_like(features), where=norms > 0)
    return result
