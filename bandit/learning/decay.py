"""
Forgetting by age of the decision: at a half-life, and faster where something was seen to change.

The weight of an outcome of a decision made at t, as of `now`, is f(t) / f(now) times what alarms
left of it (`alarms.py`), with

    f(t) = 2^(t / half-life) * product over alarms of (max(t - at, 0) + fading)^FADING

Sums are kept scaled to an epoch, so that folding stays pure addition: an outcome is added with
f(t) / f(epoch), and the sums as of `now` are the kept ones times f(epoch) / f(now).  The prior is
never scaled: a decayed regulariser lets the exploration bonus grow without bound (Russac et al.
2019, 1909.09146).  It is the prior's optimism that has an arm tried again once enough is forgotten.

The second factor makes the memory grow with the time since the alarm: a third as long ago, an
outcome still counts; so what is past is found out within a time in proportion to how long it
lasted, and a false alarm costs a part of the outcomes since, not all but the latest.
"""

import math
from dataclasses import dataclass
from datetime import datetime

from bandit.learning.alarms import Alarm, weight_after
from bandit.learning.sums import Sums

FURTHEST_EXPONENT = 40.0
FADING = 3.0  # docs/decisions/0013


@dataclass(frozen=True, slots=True)
class Forgetting:
    """
    How outcomes of one (arm, head) lose weight.

    half_life_hours  age at which one counts half; None: age alone takes nothing
    alarms           all so far
    """

    half_life_hours: float | None = None
    alarms: tuple[Alarm, ...] = ()

    @property
    def goes_on(self) -> bool:
        """Whether weights change while nothing happens."""
        if self.half_life_hours is not None:
            return True
        return bool(self.alarms) and any(alarm.fading_hours is not None for alarm in self.alarms)

    def doublings(self, start: datetime, end: datetime) -> float:
        """log2 of f(end) / f(start): negative where `end` is the earlier one."""
        result = 0.0
        if self.half_life_hours is not None:
            result += _hours(start, end) / self.half_life_hours
        for alarm in self.alarms:
            if alarm.fading_hours is not None:
                before, after = (
                    max(_hours(alarm.at, moment), 0.0) + alarm.fading_hours
                    for moment in (start, end)
                )
                result += FADING * math.log2(after / before)
        return result


def weight_of(decided_at: datetime, *, epoch: datetime, forgetting: Forgetting) -> float:
    """The factor with which an outcome of a decision made then enters sums of that epoch."""
    if forgetting.half_life_hours is None and not forgetting.alarms:
        return 1.0
    aged = float(2.0 ** forgetting.doublings(epoch, decided_at))
    return aged * weight_after(forgetting.alarms, decided_at)


def as_of(sums: Sums, now: datetime, forgetting: Forgetting) -> Sums:
    """The same sums with outcomes weighted by their age at `now`, and `now` as their epoch."""
    if not forgetting.goes_on:
        return sums
    factor = 2.0 ** -forgetting.doublings(sums.epoch, now)
    return Sums(values=sums.values * factor, features=sums.features, epoch=now)


def rebased(sums: Sums, latest: datetime, forgetting: Forgetting) -> Sums:
    """
    `sums` with an epoch near enough to `latest` that no weight overflows.

    Never moved back: an outcome long before the epoch weighs next to nothing, and overflows none.
    """
    if forgetting.doublings(sums.epoch, latest) <= FURTHEST_EXPONENT:
        return sums
    return as_of(sums, latest, forgetting)


def _hours(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds() / 3600.0
