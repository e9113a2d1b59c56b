"""What a rival sees that knows contexts and one number per outcome: no objectives, no prices."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bandit.domain.errors import InvalidInput
from bandit.domain.objective import Objective
from bandit.domain.preference import Preference, Tradeoff
from bandit.evaluation.replay import Arrival, Ask
from bandit.kernels.jit import Array
from bandit.policies.utility import Normaliser, utility_of


@dataclass(frozen=True, slots=True, eq=False)
class ScalarView:
    """
    A replay reduced to (context, arm, reward).

    contexts    (queries, features) of the table
    varying     the objectives whose weights differ between requests: these weights are appended
                to the context, as a bandit without objectives can only learn what they change
    """

    contexts: NDArray[np.float32]
    normaliser: Normaliser
    varying: tuple[Objective, ...]

    @property
    def features(self) -> int:
        """Length of a context."""
        return int(self.contexts.shape[1]) + len(self.varying)

    def context(self, ask: Ask) -> Array:
        """(features,) of one request."""
        weights: list[float] = []
        if self.varying:
            if not isinstance(ask.tradeoff, Preference):
                raise InvalidInput("preference", "varies, and is not a preference")
            weights = [ask.tradeoff.weights[objective] for objective in self.varying]
        return np.concatenate([self.contexts[ask.row].astype(np.float64), weights])

    def reward(self, arrival: Arrival, tradeoff: Tradeoff) -> float | None:
        """The utility under the request's trade-off; None where a part of it is not known."""
        needed = tradeoff.needs()
        quality, latency_ms = arrival.quality, arrival.latency_ms
        if Objective.QUALITY in needed and quality is None:
            return None
        if Objective.LATENCY in needed and latency_ms is None:
            return None
        utility = utility_of(
            np.array([0.0 if quality is None else quality]),
            np.array([arrival.cost_usd]),
            np.array([0.0 if latency_ms is None else latency_ms]),
            tradeoff,
            self.normaliser,
        )
        return float(utility[0])


def varying_weights(tradeoffs: Sequence[Tradeoff] | str) -> tuple[Objective, ...]:
    """
    The objectives by whose weights requests differ, without quality's, which the others imply.

    tradeoffs  of the requests, or "random" or "random3" as in `StreamSettings`
    """
    if isinstance(tradeoffs, str):
        return (Objective.COST,) if tradeoffs == "random" else (Objective.COST, Objective.LATENCY)
    preferences = {t for t in tradeoffs if isinstance(t, Preference)}
    return tuple(
        objective
        for objective in (Objective.COST, Objective.LATENCY)
        if len({preference.weights[objective] for preference in preferences}) > 1
    )
