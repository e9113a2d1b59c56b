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
    def latency_span(self) -> float:
        """ln high - ln low of latency."""
        return math.log(self.latency_range.high / self.latency_range.low)

    def cost(self, cost_usd: Array) -> Array:
        """phi, elementwise; cost 0 gives 0."""
        if self.cost_form is CostForm.CAPPED_LINEAR:
            return np.minimum(cost_usd / self.cost_range.high, 1.0)
        positive = np.maximum(cost_usd, self.cost_range.low)
        result: Array = np.clip(np.log(positive / self.cost_range.low) / self.cost_span, 0, 1)
        return result

    def latency(self, latency_ms: Array) -> Array:
        """psi, elementwise."""
        positive = np.maximum(latency_ms, self.latency_range.low)
        result: Array = np.clip(np.log(positive / self.latency_range.low) / self.latency_span, 0, 1)
        return result


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


def utility_of(
    quality: Array, cost_usd: Array, latency_ms: Array, tradeoff: Tradeoff, normaliser: Normaliser
) -> Array:
    """
    Utility of values in natural units, elementwise.

    Preference w:          u = w_q q - w_c phi(c) - w_l psi(l)
    willingness to pay L:  u = q - c / L
    """
    if isinstance(tradeoff, Preference):
        utility: Array = tradeoff.quality * quality - tradeoff.cost * normaliser.cost(cost_usd)
        if tradeoff.latency > 0:
            utility = utility - tradeoff.latency * normaliser.latency(latency_ms)
        return utility
    return quality - cost_usd / tradeoff.usd


def utilities(
    estimates: Estimates, tradeoff: Tradeoff, normaliser: Normaliser
) -> tuple[Array, Array]:
    """
    Mean and variance of every arm's utility, (arms,) each.

    The variance is that of independent heads, brought through phi and psi by their slopes (delta
    method): V = w_q^2 v_q + (w_c / span_c)^2 v_c + (w_l / span_l)^2 v_l.
    """
    cost_usd, latency_ms = estimates.cost_usd, estimates.latency_ms
    mean = utility_of(estimates.quality, cost_usd, latency_ms, tradeoff, normaliser)
    slopes = np.zeros_like(estimates.variance)
    if isinstance(tradeoff, Preference):
        slopes[:, 0] = tradeoff.quality
        if normaliser.cost_form is CostForm.LOG:
            slopes[:, 1] = tradeoff.cost / normaliser.cost_span
        else:
            slopes[:, 1] = tradeoff.cost * cost_usd / normaliser.cost_range.high
        slopes[:, 2] = tradeoff.latency / normaliser.latency_span
    else:
        slopes[:, 0] = 1.0
        slopes[:, 1] = cost_usd / tradeoff.usd
    variance: Array = (slopes**2 * estimates.variance).sum(axis=1)
    return mean, variance
