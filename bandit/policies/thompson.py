"""Thompson sampling with computed propensities."""

from dataclasses import dataclass

import numpy as np

from bandit.kernels.jit import Array
from bandit.kernels.propensity import thompson_each


@dataclass(frozen=True, slots=True)
class Thompson:
    """
    Chooses an arm with the probability that it is the best, beliefs sharpened by `temperature`.

        P(k) = integral of N(u; M_k, t^2 V_k) prod_{j != k} Phi((u - M_j) / (t sqrt(V_j))) du

    The vector is computed and the arm drawn from it, so the logged propensity is exact whatever
    the error of the integral.  Temperature 0 is greedy.  Source: Agrawal & Goyal (2013), 1209.3352.
    """

    temperature: float

    def propensities(self, mean: Array, variance: Array) -> Array:
        """(queries, arms), sums to 1."""
        return thompson_each(mean, self.temperature * np.sqrt(variance))

    def sampled(self, mean: Array, variance: Array, noise: Array) -> Array:
        """(arms,) one utility per arm, drawn from the sharpened beliefs."""
        return mean + self.temperature * np.sqrt(variance) * noise
