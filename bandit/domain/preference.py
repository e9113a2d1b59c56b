"""How a caller trades the objectives off."""

import math
from dataclasses import dataclass

from bandit.domain.errors import InvalidInput
from bandit.domain.objective import Objective


@dataclass(frozen=True, slots=True)
class Preference:
    """
    The caller's weight per objective: non-negative, brought to sum 1 when it is made.

    Utility is quality * q - cost * phi(c) - latency * psi(l), see `policies/utility.py`.
    """

    quality: float = 0.0
    cost: float = 0.0
    latency: float = 0.0

    def __post_init__(self) -> None:
        for name in ("quality", "cost", "latency"):
            weight = getattr(self, name)
            if not math.isfinite(weight):
                raise InvalidInput(f"preference.{name}", "must be a finite number")
            if weight < 0:
                raise InvalidInput(f"preference.{name}", "must not be negative")
        largest = max(self.quality, self.cost, self.latency)
        if largest == 0:
            raise InvalidInput("preference", "at least one weight must be positive")
        # Scaled by the largest first: the sum of two huge weights would be infinite.
        total = sum(w / largest for w in (self.quality, self.cost, self.latency))
        for name in ("quality", "cost", "latency"):
            object.__setattr__(self, name, getattr(self, name) / largest / total)

    @property
    def weights(self) -> tuple[float, float, float]:
        """The weights in the order of `Objective`."""
        return (self.quality, self.cost, self.latency)

    def needs(self) -> frozenset[Objective]:
        """The objectives that carry weight."""
        return frozenset(o for o in Objective if self.weights[o] > 0)


LEAST_WORTH_USD, MOST_WORTH_USD = 1e-9, 1e9


@dataclass(frozen=True, slots=True)
class WillingnessToPay:
    """
    Utility is quality - cost / usd, with `usd` the USD that one unit of quality is worth.

    usd  1e-9 to 1e9; far beyond, the square of cost / usd would not be finite
    """

    usd: float

    def __post_init__(self) -> None:
        if not LEAST_WORTH_USD <= self.usd <= MOST_WORTH_USD:
            raise InvalidInput(
                "willingness_to_pay_usd", f"must be from {LEAST_WORTH_USD:g} to {MOST_WORTH_USD:g}"
            )

    def needs(self) -> frozenset[Objective]:
        """The objectives that carry weight."""
        return frozenset((Objective.QUALITY, Objective.COST))


Tradeoff = Preference | WillingnessToPay
