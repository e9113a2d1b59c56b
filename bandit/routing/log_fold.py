"""What making a state anew needs from storage, besides what a learner does: the log as a whole."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from bandit.domain.decision import DecisionId
from bandit.domain.policy import PolicyId
from bandit.learning.alarms import Alarm, Monitor
from bandit.learning.exclusion import Exclusion
from bandit.routing.history import KeptState
from bandit.routing.misfit import Misfit
from bandit.routing.ports import Cell, Fold, PolicyEvent


class LogFold(Fold, Protocol):
    """A fold of the whole log: what a rebuild reads and writes besides."""

    def page(self, after: DecisionId | None, *, limit: int) -> Sequence[DecisionId]:
        """The next decisions of the log, in an order of its own; empty: that was all."""
        ...

    def sources(self) -> Mapping[str, tuple[datetime, datetime]]:
        """Whose outcomes the log has, with when the first and the last one was received."""
        ...

    def alarms(self) -> Mapping[Cell, tuple[Alarm, ...]]:
        """All alarms, in order of time."""
        ...

    def exclusion_ids(self) -> frozenset[int]:
        """Those in force."""
        ...

    def exclusions_of(self, ids: Iterable[int]) -> Sequence[Exclusion]:
        """The exclusions of these ids, in force or not."""
        ...

    def snapshot(self, snapshot_id: int, schema_id: str) -> KeptState:
        """What that snapshot holds; `UnknownSnapshot`."""
        ...

    def keep_snapshot(self, reason: str, *, at: datetime) -> int | None:
        """Take a snapshot of what is stored now; None: nothing was ever learned."""
        ...

    def exclude(
        self, exclusions: Sequence[Exclusion], *, beside: frozenset[int], at: datetime
    ) -> None:
        """Have these in force from now on, and of the earlier ones those of the ids `beside`."""
        ...

    def replace_alarms(self, alarms: Mapping[Cell, tuple[Alarm, ...]]) -> None:
        """Have these alarms and no other."""
        ...

    def replace_monitors(self, monitors: Mapping[Cell, Monitor]) -> None:
        """Have these monitors and no other."""
        ...

    def replace_quarantine(self, misfits: Sequence[Misfit], *, at: datetime) -> None:
        """Have these set aside and nothing else."""
        ...

    def drop_orphans(self) -> None:
        """Forget contributions whose decision the log no longer has."""
        ...

    def log(self, event: PolicyEvent) -> None:
        """Append to the policy's events."""
        ...


class RebuildStore(Protocol):
    """Where the log is read as a whole."""

    def begin_rebuild(
        self, policy_id: PolicyId, *, is_promotion: bool
    ) -> AbstractContextManager[LogFold | None]:
        """
        One transaction.

        A promotion waits for the policy's lock and keeps learners from it to its end; None: another
        one is at it.  Anything else reads one moment of the log, and hinders nobody.
        """
        ...
