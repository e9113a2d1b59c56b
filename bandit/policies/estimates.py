"""What the heads say about every arm, for one query or for several, in natural units."""

import math
from dataclasses import dataclass, field

import numpy as np

from bandit.domain.objective import Objective
from bandit.kernels.jit import Array
from bandit.learning.targets import PRIOR_LATENCY_MS

# Beyond these a float would overflow; no price or latency is near them.
NORMAL_95, NORMAL_999 = 1.645, 3.09
_LOWEST_LOG, _HIGHEST_LOG = math.log(1e-12), math.log(1e12)


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """
    Beliefs about the mean outcome of each arm; of many queries with another axis in front.

    quality        (arms,)  expected quality
    log_cost       (arms,)  ln of the expected cost in USD
    log_latency    (arms,)  ln of the expected latency in milliseconds
    variance       (arms, heads)  of quality, log cost and log latency
    cost_noise     (arms,)  variance of one call's log cost about its mean; the same for all queries
                            where it has no axis for them
    cost_usd       (arms,)
    latency_ms     (arms,)
    """

    quality: Array
    log_cost: Array
    log_latency: Array
    variance: Array
    cost_noise: Array
    cost_usd: Array = field(init=False)
    latency_ms: Array = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cost_usd", np.exp(self.log_cost))
        object.__setattr__(self, "latency_ms", np.exp(self.log_latency))

    def cost_quantile_usd(self, deviations: float) -> Array:
        """(arms,) what one call costs at most, that many deviations of ln cost above its mean."""
        deviation = np.sqrt(self.cost_noise + self.variance[..., Objective.COST])
        mean = self.log_cost - self.cost_noise / 2
        return np.exp(np.minimum(mean + deviations * deviation, _HIGHEST_LOG))

    @property
    def mean(self) -> Array:
        """(arms, heads) in natural units."""
        mean = np.empty(self.variance.shape)
        mean[..., Objective.QUALITY] = self.quality
        mean[..., Objective.COST] = self.cost_usd
        mean[..., Objective.LATENCY] = self.latency_ms
        return mean

    @property
    def deviation(self) -> Array:
        """(arms, heads) in natural units; of a log-normal to first order: mean * deviation."""
        deviation = np.sqrt(self.variance)
        deviation[..., 1:] *= self.mean[..., 1:]
        return deviation

    def of(self, query: int) -> "Estimates":
        """Those of one of many queries."""
        noise = self.cost_noise
        return Estimates(
            self.quality[query],
            self.log_cost[query],
            self.log_latency[query],
            self.variance[query],
            noise[query] if noise.ndim > 1 else noise,
        )


def with_added_cost(estimates: Estimates, added_usd: Array) -> Estimates:
    """
    The same beliefs about arms that cost so much more for certain; (arms,) USD, >= 0.

    The logarithm of a sum c + a varies by the c / (c + a)-th part of ln c (delta method).
    """
    cost_usd = estimates.cost_usd
    share = cost_usd / (cost_usd + added_usd)
    variance = estimates.variance.copy()
    variance[..., Objective.COST] *= share**2
    return Estimates(
        quality=estimates.quality,
        log_cost=np.minimum(estimates.log_cost - np.log(share), _HIGHEST_LOG),
        log_latency=estimates.log_latency,
        variance=variance,
        cost_noise=estimates.cost_noise * share**2,
    )


def estimates_from(
    scores: Array, noise: Array, list_usd: Array, *, quality_prior_mean: float
) -> Estimates:
    """
    Natural units from the heads' scale: the prior mean that targets lack is put back.

        quality = prior + mu'x     cost = list exp(mu'x + sigma^2 / 2)     latency likewise

    scores    (..., arms, heads, 2)  mean and variance of mu'x, from `kernels.scoring`
    noise     (arms, heads)          sigma^2
    list_usd  (..., arms)            list price for the query
    """
    means = scores[..., 0]
    logs = means + noise / 2
    cost, latency = Objective.COST, Objective.LATENCY
    return Estimates(
        quality=quality_prior_mean + means[..., Objective.QUALITY],
        log_cost=_within(np.log(list_usd) + logs[..., cost]),
        log_latency=_within(math.log(PRIOR_LATENCY_MS) + logs[..., latency]),
        variance=scores[..., 1],
        cost_noise=noise[:, cost],
    )


def _within(logs: Array) -> Array:
    # Not `np.clip`, which takes five times as long for a dozen numbers.
    result: Array = np.minimum(np.maximum(logs, _LOWEST_LOG), _HIGHEST_LOG)
    return result
