"""How long the log is kept, and why not shorter."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from bandit.domain.errors import RetentionTooShort
from bandit.domain.policy import Policy, PolicySettings

# Beyond the longest window: time in which learners that were away fold what came at its end.
MARGIN = timedelta(days=7)


def kept_since(retention: timedelta, policies: Iterable[Policy], *, now: datetime) -> datetime:
    """
    The moment before which decisions are no longer kept, with their outcomes.

    Raises RetentionTooShort where outcomes may still count, or wait to be folded, by then.
    """
    for policy in policies:
        least = _longest_window(policy.settings) + MARGIN
        if retention < least:
            raise RetentionTooShort(policy.name, retention=retention, least=least)
    return now - retention


def _longest_window(_settings: PolicySettings) -> timedelta:
    """How long after a decision its outcomes may count; nothing limits that, or asks for it."""
    return timedelta(0)
