"""Epsilon-greedy; greedy and uniform are its two ends."""

from dataclasses import dataclass

from bandit.kernels.jit import Array
from bandit.kernels.propensity import greedy


@dataclass(frozen=True, slots=True)
class EpsilonGreedy:
    """The best expected utility, ties shared, with a share `epsilon` spread over all arms."""

    epsilon: float

    def propensities(self, mean: Array, variance: Array) -> Array:
        """(arms,), sums to 1."""
        return (1 - self.epsilon) * greedy(mean) + self.epsilon / len(mean)

    def sampled(self, mean: Array, variance: Array, noise: Array) -> Array:
        """(arms,) the expected utilities: nothing is drawn."""
        return mean
