"""
Detectors of change, on residuals: how far an outcome was from what its decision expected.

While nothing changes, standardised residuals have mean 0 and deviation 1.  A detector is a pure
function from what it remembers and one residual to what it remembers then, and whether it found
a change; so any learner goes on where another one stopped.
"""

import math
from dataclasses import dataclass
from typing import Protocol

from bandit.domain.objective import Objective
from bandit.domain.policy import Detector
from bandit.domain.price import LEAST_USD
from bandit.learning.alarms import Direction
from bandit.learning.targets import LEAST_LATENCY_MS

LEAST_WEIGHT = 30.0  # of a cell that is grown: what a younger one expected may well be wrong
FURTHEST = 3.0  # deviations; a single outcome, however odd, is no change

Memory = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """
    A change was found.

    statistic  the detector's number for it; see there
    """

    direction: Direction
    statistic: float


class ChangeDetector(Protocol):
    """Watches the residuals of one (arm, head)."""

    def observe(self, memory: Memory, residual: float) -> tuple[Memory, Finding | None]:
        """
        What is remembered after one more residual, and what was found.

        memory  () at first; after a finding it is () again
        """
        ...


@dataclass(frozen=True, slots=True)
class Cusum:
    """
    Cumulative sums of what exceeds `slack`, upwards and downwards; a change when one passes
    `threshold`, which is the finding's statistic.

    slack      deviations: half the shift that is to be found soonest
    threshold  deviations

        g+ <- max(0, g+ + z - slack)      g- <- max(0, g- - z - slack)

    Source: Page (1954), section 3, both sides at once.
    """

    slack: float
    threshold: float

    def observe(self, memory: Memory, residual: float) -> tuple[Memory, Finding | None]:
        """memory: (g+, g-)"""
        up, down = memory or (0.0, 0.0)
        up = max(0.0, up + residual - self.slack)
        down = max(0.0, down - residual - self.slack)
        if max(up, down) <= self.threshold:
            return (up, down), None
        direction = Direction.UP if up > down else Direction.DOWN
        return (), Finding(direction, max(up, down))


# On logarithms residuals are nearly Gaussian, and a smaller shift is found without false alarms;
# of ratings that are 0 or 1 they are not.
_CUSUM: dict[Objective, Cusum] = {
    Objective.QUALITY: Cusum(slack=0.5, threshold=12.0),
    Objective.COST: Cusum(slack=0.25, threshold=15.0),
    Objective.LATENCY: Cusum(slack=0.25, threshold=15.0),
}


def standardised(
    objective: Objective,
    value: float,
    *,
    expected: float,
    deviation: float,
    noise: float,
) -> float | None:
    """
    z = clip((y - m) / sqrt(sigma^2 + v), +-3), on the scale on which the head learns; None if the
    decision expected nothing.

    value      the outcome, in its unit
    expected   the decision's estimate of it, same unit; of a log-normal the mean
    deviation  of that estimate, same unit; of a log-normal to first order, so that deviation /
               expected is the deviation of the logarithm
    noise      sigma^2 of the head
    """
    if objective is Objective.QUALITY:
        error, variance = value - expected, deviation**2
    else:
        if not expected > 0:
            return None
        least = LEAST_USD if objective is Objective.COST else LEAST_LATENCY_MS
        error = math.log(max(value, least)) - (math.log(expected) - noise / 2)
        variance = (deviation / expected) ** 2
    z = error / math.sqrt(noise + variance)
    return min(max(z, -FURTHEST), FURTHEST) if math.isfinite(z) else None


def detector_of(kind: Detector, objective: Objective) -> ChangeDetector | None:
    """The detector of that kind for a head; None: nothing is watched."""
    match kind:
        case Detector.OFF:
            return None
        case Detector.CUSUM:
            return _CUSUM[objective]
        case Detector.PAGE_HINKLEY | Detector.ADWIN:
            # Imported here: River takes more than a second, and few policies ask for it.
            from bandit.learning.river_drift import river_detector

            return river_detector(kind)
