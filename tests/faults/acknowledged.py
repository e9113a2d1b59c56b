"""What callers were told: the promises that the log is held to."""

import threading
from collections import defaultdict
from dataclasses import dataclass, field
from uuid import UUID

from bandit.domain.objective import Objective

# policy, decision, head, source, sequence: what the log is unique on
OutcomeKey = tuple[str, UUID, Objective, str, int]


@dataclass(frozen=True, slots=True)
class Told:
    """An answer to Select."""

    policy: str
    id: UUID
    arm: str
    propensity: float
    is_durable: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """
    One call of Select or BatchSelect, retries included, as its caller saw it.

    started_at, took_s   monotonic seconds
    failure              empty: it was answered
    """

    target: str
    started_at: float
    took_s: float
    failure: str


@dataclass
class Acknowledged:
    """
    Everything that callers sent and heard.

    sent        every value that was ever sent, acknowledged or not
    outcomes    those that were acknowledged as being in the log
    first_time  how often each was acknowledged as new there: once, whatever was lost on the way
    put_off     why reports were not taken at once; they are sent again
    findings    answers that no caller should ever get
    """

    decisions: dict[tuple[str, UUID], Told] = field(default_factory=dict)
    sent: dict[OutcomeKey, float] = field(default_factory=dict)
    outcomes: dict[OutcomeKey, float] = field(default_factory=dict)
    first_time: defaultdict[OutcomeKey, int] = field(default_factory=lambda: defaultdict(int))
    asked: list[Asked] = field(default_factory=list)
    put_off: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    _outages: dict[str, list[list[float]]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def decided(self, told: Told) -> None:
        """A choice was answered."""
        before = self.decisions.get((told.policy, told.id))
        if before is not None and (before.arm, before.propensity) != (told.arm, told.propensity):
            self.findings.append(f"decision {told.id} was answered in two ways")
        if before is None or not before.is_durable:
            self.decisions[told.policy, told.id] = told

    def died(self, target: str, at: float) -> None:
        """A router was killed; it is not expected to answer until it has answered again."""
        with self._lock:
            self._outages.setdefault(target, []).append([at, float("inf")])

    def heard(self, asked: Asked) -> None:
        """A call was answered, or failed."""
        self.asked.append(asked)
        if not asked.failure:
            with self._lock:
                for outage in self._outages.get(asked.target, []):
                    if outage[0] < asked.started_at < outage[1]:
                        outage[1] = asked.started_at + asked.took_s

    def of_living_routers(self) -> list[Asked]:
        """The calls during which their router lived all the time."""
        return [
            asked
            for asked in self.asked
            if not any(
                begin < asked.started_at + asked.took_s and asked.started_at < end
                for begin, end in self._outages.get(asked.target, [])
            )
        ]
