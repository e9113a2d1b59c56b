"""Epsilon-greedy; greedy and uniform are its two ends."""

from dataclasses import dataclass

import numpy as np

from bandit.kernels.jit import Array
from bandit.kernels.propensity import greedy_each


@dataclass(frozen=True, slots=True)
class EpsilonGreedy:
    """The best expected utility, ties shared, with a share `epsilon` spread over all eligible."""

    epsilon: float

    def propensities(self, mean: Array, variance: Array) -> Array:
        """(queries, arms), sums to 1."""
        is_open = mean > -np.inf
        even: Array = is_open / is_open.sum(axis=1, keepdims=True)
        return (1 - self.epsilon) * greedy_each(mean) + self.epsilon * even

    def sampled(self, mean: Array, variance: Array, noise: Array) -> Array:
        """(arms,) the expected utilities: nothing is drawn."""
        return mean
