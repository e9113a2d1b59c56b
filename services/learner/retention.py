"""The learner's part in keeping the log no longer than the operator asked for."""

from collections.abc import Callable
from datetime import datetime, timedelta

from bandit.domain.errors import RetentionTooShort, Unavailable
from bandit.routing.ports import Catalog
from bandit.routing.retention import kept_since
from bandit.store.postgres.retention import Dropped
from services.logs import Outage, logger

_log = logger(__name__)


class Retention:
    """
    Drops what is older than `retention`, and tells of it.

    A trouble in that keeps nobody from learning: it is told once, and tried again in an hour.
    """

    def __init__(
        self,
        retention: timedelta,
        catalog: Catalog,
        *,
        drop_before: Callable[..., Dropped],
    ) -> None:
        self._retention = retention
        self._catalog = catalog
        self._drop_before = drop_before
        self._outage = Outage(_log, "dropping what is older than the retention")

    def apply(self, now: datetime) -> None:
        """Drop what is too old at `now`; nothing where the retention is too short."""
        try:
            since = kept_since(self._retention, self._catalog.list(), now=now)
            dropped = self._drop_before(since, now=now)
        except (RetentionTooShort, Unavailable) as error:
            self._outage.began(error)
            return
        self._outage.ended()
        if dropped.days or dropped.decisions:
            _log.info(
                "dropped what is older than the retention",
                days=len(dropped.days),
                until=str(max(dropped.days, default="")),
                decisions_without_a_day=dropped.decisions,
            )
        if dropped.put_off:
            _log.warning(
                "old days are in use or hold outcomes not yet learned, and are kept for now",
                days=len(dropped.put_off),
            )
        if dropped.unfolded:
            _log.error("outcomes were dropped that were never learned", outcomes=dropped.unfolded)
