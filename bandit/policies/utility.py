"""Estimates scalarised by what this caller wants now."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from bandit.domain.arm import Arm
from bandit.domain.policy import CostForm, PolicySettings, Range
from bandit.domain.preference import Preference, Tradeoff
from bandit.domain.price import Price
from bandit.kernels.jit import Array
from bandit.policies.estimates import Estimates

TYPICAL_INPUT_TOKENS = 500
UNPRICED_RANGE = Range(1e-5, 1e-1)


@dataclass(frozen=True, slots=True)
class Normaliser:
    """
    Brings cost and latency to 0 (good) to 1 (bad).

        phi(c) = clip((ln c - ln low) / (ln high - ln low), 0, 1)   or   min(c / high, 1)
        psi(l) likewise, always on the log scale

    cost_range in USD, latency_range in milliseconds.
    """

    cost_range: Range
    latency_range: Range
    cost_form: CostForm = CostForm.LOG

    @property
    def cost_span(self) -> float:
        """ln high - ln low of cost."""
        return math.log(self.cost_range.high / self.cost_range.low)

    @property
    def middle_usd(self) -> float:
        """The geometric middle of the cost range."""
        return math.sqrt(self.cost_range.low * self.cost_range.high)

    @property
    def fastest_ms(self) -> Array:
        """The low end of latency, which costs nothing."""
        return np.array(self.latency_range.low)

    @property
    def latency_span(self) -> float:
        """ln high - ln low of latency."""
        return math.log(self.latency_range.high / self.latency_range.low)

    def cost(self, cost_usd: Array) -> Array:
        """phi, elementwise; cost 0 gives 0."""
        if self.cost_form is CostForm.CAPPED_LINEAR:
            return np.minimum(cost_usd / self.cost_range.high, 1.0)
        return _share(cost_usd, self.cost_range, self.cost_span)

    def latency(self, latency_ms: Array) -> Array:
        """psi, elementwise."""
        return _share(latency_ms, self.latency_range, self.latency_span)


def _share(values: Array, bounds: Range, span: float) -> Array:
    """How far along the logarithmic range each value lies, 0 to 1."""
    shares: Array = np.minimum(np.log(np.maximum(values, bounds.low) / bounds.low) / span, 1.0)
    return shares


def cost_range_of(prices: Iterable[Price], *, input_tokens: float = TYPICAL_INPUT_TOKENS) -> Range:
    """
    The range that list prices span: [min list / 3, 3 max list].

    Without any price: 1e-5 to 0.1 USD.
    """
    lists = [price.list_usd(input_tokens) for price in prices]
    return Range(min(lists) / 3, 3 * max(lists)) if lists else UNPRICED_RANGE


def prices_of(arms: Iterable[Arm], now: datetime) -> list[Price]:
    """The prices in force at `now`, of the arms that have one."""
    return [price for arm in arms if (price := arm.price_at(now)) is not None]


def normaliser_of(settings: PolicySettings, arms: Iterable[Arm], now: datetime) -> Normaliser:
    """The policy's normaliser; a range not declared follows the arms' prices."""
    return Normaliser(
        cost_range=settings.cost_range or cost_range_of(prices_of(arms, now)),
        latency_range=settings.latency_range_ms,
        cost_form=settings.cost_form,
    )


def weights_of(tradeoff: Tradeoff) -> tuple[float, float, float, float]:
    """
    What a unit of quality, of phi and of psi weighs, and the USD that one unit of utility is worth.

    A preference puts no worth on money itself: infinite.  A willingness to pay looks at nothing
    else.
    """
    if isinstance(tradeoff, Preference):
        return (tradeoff.quality, tradeoff.cost, tradeoff.latency, math.inf)
    return (1.0, 0.0, 0.0, tradeoff.usd)


def utility_of(
    quality: Array, cost_usd: Array, latency_ms: Array, tradeoff: Tradeoff, normaliser: Normaliser
) -> Array:
    """
    Utility of values in natural units, elementwise; a latency that has no weight may be NaN.

    Preference w:          u = w_q q - w_c phi(c) - w_l psi(l)
    willingness to pay L:  u = q - c / L
    """
    weights = np.array(weights_of(tradeoff))
    slow = latency_ms if weights[2] > 0 else normaliser.fastest_ms
    return _weighed(quality, cost_usd, slow, weights, normaliser)


def _weighed(
    quality: Array, cost_usd: Array, latency_ms: Array, weights: Array, normaliser: Normaliser
) -> Array:
    """u = w_q q - w_c phi(c) - w_l psi(l) - c / L, elementwise; weights (..., 4)."""
    utility: Array = (
        weights[..., 0] * quality
        - weights[..., 1] * normaliser.cost(cost_usd)
        - weights[..., 2] * normaliser.latency(latency_ms)
        - cost_usd / weights[..., 3]
    )
    return utility


def utilities(estimates: Estimates, weights: Array, normaliser: Normaliser) -> tuple[Array, Array]:
    """
    Mean and variance of every arm's utility, each in the shape of `estimates.quality`.

    The variance is that of independent heads, brought through phi, psi and c / L by their slopes
    (delta method): V = w_q^2 v_q + (w_c / span_c + c / L)^2 v_c + (w_l / span_l)^2 v_l.

    weights  (4,) of `weights_of`, or (queries, 1, 4)
    """
    cost_usd = estimates.cost_usd
    mean = _weighed(estimates.quality, cost_usd, estimates.latency_ms, weights, normaliser)
    per_usd = cost_usd / weights[..., 3]
    if normaliser.cost_form is CostForm.LOG:
        cost_slope = weights[..., 1] / normaliser.cost_span + per_usd
    else:
        cost_slope = weights[..., 1] * cost_usd / normaliser.cost_range.high + per_usd
    variance: Array = (
        weights[..., 0] ** 2 * estimates.variance[..., 0]
        + cost_slope**2 * estimates.variance[..., 1]
        + (weights[..., 2] / normaliser.latency_span) ** 2 * estimates.variance[..., 2]
    )
    return mean, variance
