"""What the heads say about every arm for one query, in natural units."""

import math
from dataclasses import dataclass

import numpy as np

from bandit.domain.objective import Objective
from bandit.kernels.jit import Array
from bandit.learning.targets import PRIOR_LATENCY_MS

# Beyond these a float would overflow; no price or latency is near them.
_LOWEST_LOG, _HIGHEST_LOG = math.log(1e-12), math.log(1e12)


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """
    Beliefs about the mean outcome of each arm.

    quality        (arms,)  expected quality
    log_cost       (arms,)  ln of the expected cost in USD
    log_latency    (arms,)  ln of the expected latency in milliseconds
    variance       (arms, heads)  of quality, log cost and log latency
    """

    quality: Array
    log_cost: Array
    log_latency: Array
    variance: Array

    @property
    def cost_usd(self) -> Array:
        """(arms,)"""
        return np.exp(self.log_cost)

    @property
    def latency_ms(self) -> Array:
        """(arms,)"""
        return np.exp(self.log_latency)

    @property
    def mean(self) -> Array:
        """(arms, heads) in natural units."""
        return np.column_stack([self.quality, self.cost_usd, self.latency_ms])

    @property
    def deviation(self) -> Array:
        """(arms, heads) in natural units; of a log-normal to first order: mean * deviation."""
        deviation = np.sqrt(self.variance)
        deviation[:, 1:] *= self.mean[:, 1:]
        return deviation


def estimates_from(
    scores: Array, noise: Array, list_usd: Array, *, quality_prior_mean: float
) -> Estimates:
    """
    Natural units from the heads' scale: the prior mean that targets lack is put back.

        quality = prior + mu'x     cost = list exp(mu'x + sigma^2 / 2)     latency likewise

    scores    (arms, heads, 2)  mean and variance of mu'x, from `kernels.scoring.score`
    noise     (arms, heads)     sigma^2
    list_usd  (arms,)           list price for this query
    """
    means = scores[:, :, 0]
    logs = means + noise / 2
    cost, latency = Objective.COST, Objective.LATENCY
    return Estimates(
        quality=quality_prior_mean + means[:, Objective.QUALITY],
        log_cost=np.clip(np.log(list_usd) + logs[:, cost], _LOWEST_LOG, _HIGHEST_LOG),
        log_latency=np.clip(
            math.log(PRIOR_LATENCY_MS) + logs[:, latency], _LOWEST_LOG, _HIGHEST_LOG
        ),
        variance=scores[:, :, 1],
    )
