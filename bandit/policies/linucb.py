"""LinUCB: the best arm at the optimistic end of its belief."""

from dataclasses import dataclass

import numpy as np

from bandit.kernels.jit import Array
from bandit.kernels.propensity import greedy_each


@dataclass(frozen=True, slots=True)
class LinUcb:
    """argmax M + alpha sqrt(V), ties shared.  Source: Li et al. (2010), 1003.0146, Algorithm 1."""

    alpha: float

    def propensities(self, mean: Array, variance: Array) -> Array:
        """(queries, arms), sums to 1."""
        return greedy_each(mean + self.alpha * np.sqrt(variance))

    def sampled(self, mean: Array, variance: Array, noise: Array) -> Array:
        """(arms,) the optimistic end of each belief: nothing is drawn."""
        return mean + self.alpha * np.sqrt(variance)
