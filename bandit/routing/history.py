"""
The learned state as it was: what is kept of it, when, and for how long.

A snapshot is a copy of all posteriors of a policy, with the alarms and exclusions then in force.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from bandit.domain.policy import PolicyId
from bandit.learning.alarms import Alarm
from bandit.routing.ports import Cell, StoredSums

SCHEDULED = "scheduled"
REBUILD, ROLLBACK = "rebuild", "rollback"
KEPT_SCHEDULED = 48
KEPT_FOR = timedelta(days=30)  # those taken before a change

# Kinds of events before which a snapshot is taken.
STRUCTURAL = frozenset(
    {
        "add_arm",
        "remove_arm",
        "set_arm_status",
        "finish_exploring",
        "update_policy",
        "archive_policy",
    }
)


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """
    A snapshot without what it holds.

    reason            `SCHEDULED`, or the kind of the change before which it was taken
    learned_version   of the policy at that moment
    pending           (decision, head) pairs that were in line then, so not in its sums
    posteriors        how many it holds
    observations      outcomes in them, undecayed
    """

    id: int
    at: datetime
    reason: str
    learned_version: int
    pending: int
    posteriors: int
    observations: int


@dataclass(frozen=True, slots=True, eq=False)
class KeptState:
    """
    What a snapshot holds.

    sums         per cell of one feature schema, with their alarms
    alarms       all of the policy then, also of cells without sums
    exclusions   ids of those in force then
    """

    info: SnapshotInfo
    sums: Mapping[Cell, StoredSums]
    alarms: Mapping[Cell, tuple[Alarm, ...]]
    exclusions: frozenset[int]


class History(Protocol):
    """The snapshots of policies."""

    def snapshots(self, policy_id: PolicyId) -> Sequence[SnapshotInfo]:
        """All that are kept, newest first."""
        ...

    def keep_scheduled(self, policy_id: PolicyId, *, now: datetime, every: timedelta) -> int | None:
        """
        Take a snapshot if the newest one is at least `every` old and something was learned since.

        Then those are dropped that are kept no longer: scheduled ones beyond the newest
        `KEPT_SCHEDULED`, others older than `KEPT_FOR`.  The id of the one taken; None: none was.
        """
        ...
