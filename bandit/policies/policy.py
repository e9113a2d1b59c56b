"""One protocol for every way of choosing: a policy returns the whole propensity vector."""

from typing import Protocol

from bandit.domain.policy import Algorithm, PolicySettings
from bandit.kernels.jit import Array
from bandit.policies.epsilon_greedy import EpsilonGreedy
from bandit.policies.linucb import LinUcb
from bandit.policies.thompson import Thompson


class ChoicePolicy(Protocol):
    """From beliefs about the utility of the arms to the probability of choosing each."""

    def propensities(self, mean: Array, variance: Array) -> Array:
        """
        mean      (queries, arms)  expected utility; -inf: not eligible; one of a query is, at least
        variance  (queries, arms)  of that mean
        returns   (queries, arms)  in [0, 1], each query's sum to 1; 0 for an arm not eligible
        """
        ...

    def sampled(self, mean: Array, variance: Array, noise: Array) -> Array:
        """
        The utilities among which this policy would take the largest.

        noise    (arms,)  standard normal
        returns  (arms,)
        """
        ...


def policy_of(settings: PolicySettings) -> ChoicePolicy:
    """The policy that the settings declare."""
    match settings.algorithm:
        case Algorithm.THOMPSON:
            return Thompson(temperature=settings.temperature)
        case Algorithm.LINUCB:
            return LinUcb(alpha=settings.alpha)
        case Algorithm.GREEDY:
            return EpsilonGreedy(epsilon=0.0)
        case Algorithm.EPSILON_GREEDY:
            return EpsilonGreedy(epsilon=settings.epsilon)
        case Algorithm.UNIFORM:
            return EpsilonGreedy(epsilon=1.0)
