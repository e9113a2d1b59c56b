"""How long the log is kept, and why not shorter."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from bandit.domain.errors import RetentionTooShort
from bandit.domain.policy import Policy

# Beyond the longest window: time in which learners that were away fold what came at its end.
MARGIN = timedelta(days=7)


def kept_since(retention: timedelta, policies: Iterable[Policy], *, now: datetime) -> datetime:
    """
    The moment before which decisions are no longer kept, with their outcomes.

    Raises RetentionTooShort where outcomes may still count, or wait to be folded, by then.
    """
    for policy in policies:
        least = policy.settings.longest_window + MARGIN
        if retention < least:
            raise RetentionTooShort(policy.name, retention=retention, least=least)
    return now - retention
