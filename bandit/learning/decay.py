"""
Forgetting by age of the decision: an outcome counts 2^-(age / half-life).

Sums are kept scaled to an epoch, so that folding stays pure addition: an outcome of a decision
made at t is added with 2^((t - epoch) / half-life), and the sums as of `now` are the kept ones
times 2^-((now - epoch) / half-life).  The prior is never scaled: a decayed regulariser lets the
exploration bonus grow without bound (Russac et al. 2019, 1909.09146).
"""

from datetime import datetime

from bandit.learning.sums import Sums

FURTHEST_EXPONENT = 40.0


def _half_lives(start: datetime, end: datetime, half_life_hours: float | None) -> float:
    if half_life_hours is None:
        return 0.0
    return (end - start).total_seconds() / 3600.0 / half_life_hours


def weight_of(decided_at: datetime, *, epoch: datetime, half_life_hours: float | None) -> float:
    """The factor with which an outcome of a decision made then enters sums of that epoch."""
    return float(2.0 ** _half_lives(epoch, decided_at, half_life_hours))


def as_of(sums: Sums, now: datetime, *, half_life_hours: float | None) -> Sums:
    """The same sums with outcomes weighted by their age at `now`, and `now` as their epoch."""
    if half_life_hours is None:
        return sums
    factor = 2.0 ** -_half_lives(sums.epoch, now, half_life_hours)
    return Sums(values=sums.values * factor, features=sums.features, epoch=now)


def rebased(sums: Sums, latest: datetime, *, half_life_hours: float | None) -> Sums:
    """
    `sums` with an epoch near enough to `latest` that no weight overflows.

    Never moved back: an outcome long before the epoch weighs next to nothing, and overflows none.
    """
    if _half_lives(sums.epoch, latest, half_life_hours) <= FURTHEST_EXPONENT:
        return sums
    return as_of(sums, latest, half_life_hours=half_life_hours)
