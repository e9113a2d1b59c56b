"""Outcome rows that no longer count, though the log keeps them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from bandit.domain.outcome import OutcomeRow


@dataclass(frozen=True, slots=True)
class Exclusion:
    """
    Which rows do not count; what is received later than `received_until` does again.

    source          None: of any source
    received_after  None: from the beginning; a row received at that very moment still counts
    received_until  up to and with that moment
    """

    source: str | None
    received_after: datetime | None
    received_until: datetime

    def covers(self, row: OutcomeRow) -> bool:
        """Whether the row is left out."""
        return (
            (self.source is None or row.source == self.source)
            and (self.received_after is None or row.received_at > self.received_after)
            and row.received_at <= self.received_until
        )


def counted(rows: Iterable[OutcomeRow], exclusions: Sequence[Exclusion]) -> list[OutcomeRow]:
    """The rows that no exclusion covers, in their order."""
    if not exclusions:
        return list(rows)
    return [row for row in rows if not any(exclusion.covers(row) for exclusion in exclusions)]
