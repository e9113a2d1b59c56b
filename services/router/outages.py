"""What the log tells of decisions that were answered before they were stored."""

from dataclasses import asdict

from bandit.routing.backlog import Counts
from services.logs import Outage, logger

_log = logger(__name__)


class BacklogWitness:
    """Implements `routing.backlog.Witness`: one line when an outage begins, one when it is over."""

    def __init__(self) -> None:
        self._outage = Outage(_log, "storing decisions")

    def began(self, error: Exception) -> None:
        """A line with what is wrong."""
        self._outage.began(error)

    def ended(self, counts: Counts) -> None:
        """A line with what became of the decisions."""
        self._outage.ended(**asdict(counts))


def tell_loss(lost: int) -> None:
    """At the end of the process: how many decisions were answered and never stored."""
    if lost:
        _log.error("decisions are lost that could not be stored in time", lost=lost)
