"""What came back after a decision, in its units."""

import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from bandit.domain.decision import DecisionId
from bandit.domain.errors import InvalidInput
from bandit.domain.objective import Objective

GREATEST_SEQUENCE = 2**63 - 1
LONGEST_SOURCE = 200
DEFAULT_SOURCE = "default"


@dataclass(frozen=True, slots=True)
class Report:
    """
    One message about one decision.

    arm             name of the arm that really answered
    quality         0 to 1
    cost_usd        >= 0; absent with `output_tokens` given: tokens at the decision's price
    latency_ms      > 0
    failed          quality 0, unless quality is reported too
    sequence        a higher one corrects a lower one of the same source
    """

    policy: str
    decision_id: DecisionId
    arm: str
    quality: float | None = None
    cost_usd: float | None = None
    latency_ms: float | None = None
    output_tokens: int | None = None
    failed: bool = False
    sequence: int = 0
    observed_at: datetime | None = None
    dry_run: bool = False
    source: str = DEFAULT_SOURCE

    def __post_init__(self) -> None:
        if self.quality is not None and not 0 <= self.quality <= 1:
            raise InvalidInput("quality", "must be from 0 to 1")
        if self.cost_usd is not None and not (math.isfinite(self.cost_usd) and self.cost_usd >= 0):
            raise InvalidInput("cost_usd", "must be a finite number, not negative")
        if self.latency_ms is not None and not (
            math.isfinite(self.latency_ms) and self.latency_ms > 0
        ):
            raise InvalidInput("latency_ms", "must be a finite number above 0")
        if self.output_tokens is not None and not 0 <= self.output_tokens <= 2**40:
            raise InvalidInput("output_tokens", "must be from 0 to 2^40")
        if not 0 <= self.sequence <= GREATEST_SEQUENCE:
            raise InvalidInput("sequence", "must be from 0 to 2^63 - 1")
        if not self.source or len(self.source) > LONGEST_SOURCE or not self.source.isprintable():
            raise InvalidInput("source", f"must be 1 to {LONGEST_SOURCE} printable characters")
        given = (self.quality, self.cost_usd, self.latency_ms, self.output_tokens)
        if not self.failed and all(value is None for value in given):
            raise InvalidInput("report", "must bring at least one outcome")


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """One value of one head, as it is appended to the log; unique on all but the last three."""

    decision_id: DecisionId
    objective: Objective
    source: str
    sequence: int
    value: float  # quality, USD or milliseconds
    received_at: datetime
    observed_at: datetime | None = None


class Disposition(StrEnum):
    """What became of a reported value."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"  # that sequence was there already; the first value stays
    CORRECTED = "corrected"  # it replaces a lower sequence
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one head of a report; `reason` says why a value was ignored."""

    objective: Objective
    disposition: Disposition
    reason: str = ""
