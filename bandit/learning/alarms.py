"""
What an alarm does to what was learned: outcomes of decisions before it count less.

An alarm is an event of the log.  The sums after it are those that the log gives when every outcome
of a decision made at or before the alarm counts `weight` per such alarm; so that scaling the sums
at the alarm, and every later contribution by the same rule, keeps addition pure.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from bandit.domain.policy import Detector
from bandit.learning.sums import Sums

WEIGHT_AFTER_ALARM = 0.02  # rho


class Direction(StrEnum):
    """Whether outcomes came in above or below what was expected, in the objective's own unit."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Alarm:
    """
    An (arm, head) is no longer what it was.

    at            outcomes of decisions made then or before count `weight` from now on
    weight        rho, in (0, 1)
    fading_hours  how long outcomes count nearly in full from then on, see `decay.py`; None: they do
                  for good
    raised_at     when it was found; None: not known
    """

    at: datetime
    weight: float = WEIGHT_AFTER_ALARM
    fading_hours: float | None = None
    raised_at: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Monitor:
    """
    How far the watch over one (arm, head) has come; not part of what is learned.

    latest        the latest moment of a decision whose outcome is in the sums
    grown_at      decisions from then on expected what a grown posterior did; None: it is young
    detector      the one that `memory` is of
    memory        what it keeps between outcomes, see `drift.py`
    observations  residuals it has seen since the last alarm
    alarms        all so far, in order of time
    """

    latest: datetime
    detector: Detector
    grown_at: datetime | None = None
    memory: tuple[float, ...] = ()
    observations: int = 0
    alarms: tuple[Alarm, ...] = ()


def weight_after(alarms: Iterable[Alarm], decided_at: datetime) -> float:
    """What is left, after these alarms, of an outcome of a decision made then."""
    weight = 1.0
    for alarm in alarms:
        if decided_at <= alarm.at:
            weight *= alarm.weight
    return weight


def discounted(sums: Sums, weight: float) -> Sums:
    """The same sums with every outcome in them counting `weight` of what it did."""
    if weight == 1.0:
        return sums
    return Sums(values=sums.values * weight, features=sums.features, epoch=sums.epoch)
