"""A recorded choice: everything that explains it, replays it and learns from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NewType
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from bandit.domain.arm import ARM_KEY_BYTES, ArmId, arm_key
from bandit.domain.budget import Charge
from bandit.domain.errors import InvalidInput
from bandit.domain.objective import Objective
from bandit.domain.policy import PolicyId
from bandit.domain.preference import Tradeoff
from bandit.domain.price import Price
from bandit.domain.reward_window import NO_DEADLINES, Deadline

DecisionId = NewType("DecisionId", UUID)

# One row per arm that the policy had, in the order of the ranking: the eligible arms by falling
# utility, then the removed ones.  Stored as these bytes: the stored answer is the answer.
CANDIDATE = np.dtype(
    [
        ("arm", "<u8", (2,)),  # the arm's id, high and low half
        ("removed_by", "<i4"),  # a `Removal`
        ("propensity", "<f8"),
        ("utility", "<f8"),
        ("mean", "<f8", (3,)),  # per objective: quality, USD, milliseconds; NaN: not learned
        ("deviation", "<f8", (3,)),
    ]
)
Candidates = NDArray[np.void]
# The same rows with the id in one piece.
_KEYED = np.dtype(
    {
        "names": ["arm"],
        "formats": [f"V{ARM_KEY_BYTES}"],
        "offsets": [0],
        "itemsize": CANDIDATE.itemsize,
    }
)

NO_DAY = date(1970, 1, 1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_DAY = date(9000, 1, 1)
_DAY_MS = 86_400_000
_LATEST_MS = 221_846_000_000_000  # beyond `_LATEST_DAY`, and still a date that Python knows


def day_of(decision_id: UUID) -> date:
    """
    The day under which a decision is kept: a UUIDv7's UTC date, 1970-01-01 for any other UUID.

    A pure function of the id, so that uniqueness holds across daily partitions.
    """
    if decision_id.version != 7:
        return NO_DAY
    return _day(min(decision_id.int >> 80, _LATEST_MS) // _DAY_MS)


@lru_cache(maxsize=64)
def _day(days: int) -> date:
    day = (EPOCH + timedelta(days=days)).date()
    if day >= _LATEST_DAY:
        raise InvalidInput("decision_id", "is a UUIDv7 of a day too far in the future")
    return day


def made_at(decision_id: UUID) -> datetime | None:
    """The moment written into a UUIDv7; None for any other UUID."""
    if decision_id.version != 7:
        return None
    return EPOCH + timedelta(milliseconds=min(decision_id.int >> 80, _LATEST_MS))


def row_of(candidates: Candidates, arm_id: ArmId) -> int:
    """Where that arm stands among the candidates; -1: nowhere."""
    ids, key = candidates["arm"].tobytes(), arm_key(arm_id)
    at = ids.find(key)
    while at % ARM_KEY_BYTES and at >= 0:  # across two ids that lie side by side
        at = ids.find(key, at + 1)
    return at // ARM_KEY_BYTES


def arm_keys(candidates: Candidates) -> list[bytes]:
    """The `arm_key` of each candidate."""
    keys: list[bytes] = candidates.view(_KEYED)["arm"].tolist()
    return keys


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """
    A policy's answer, with what it was made from.

    context        (features,) float32, as it is stored and as it was scored
    schema_id      id of the feature schema that made the context
    fingerprint    hash of the request
    input_tokens   expected before the call
    list_usd       list price of the chosen arm for this query, in force at `at`
    price          the chosen arm's price in force at `at`; None: it has none
    candidates     (arms,) of `CANDIDATE`, in ranked order
    charge         what was booked for it; None: the policy had no budget
    deadlines      until when outcomes of a head count, as it was in force; absent: for ever
    is_deferred    it teaches nothing before it is activated
    activated_at   None: it was not, or need not be
    """

    id: DecisionId
    policy_id: PolicyId
    at: datetime
    arm_id: ArmId
    propensity: float
    context: NDArray[np.float32]
    schema_id: str
    fingerprint: bytes
    tradeoff: Tradeoff
    input_tokens: int
    list_usd: float
    price: Price | None
    policy_version: int
    snapshot_version: int
    candidates: Candidates
    labels: Mapping[str, str]
    charge: Charge | None = None
    deadlines: Mapping[Objective, Deadline] = field(default_factory=lambda: NO_DEADLINES)
    is_deferred: bool = False
    activated_at: datetime | None = None

    @property
    def is_active(self) -> bool:
        """Whether what came of it is learned."""
        return not self.is_deferred or self.activated_at is not None

    @property
    def held_until(self) -> dict[Objective, datetime]:
        """
        The heads that have a default, and when they are learned: outcome or not, not before.
        """
        return {o: due.due_at for o, due in self.deadlines.items() if due.default is not None}

    @property
    def chosen(self) -> np.void:
        """The row of `candidates` that was chosen."""
        row: np.void = self.candidates[row_of(self.candidates, self.arm_id)]
        return row


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """
    A decision as the log holds it.

    replayed   it was stored before, by an earlier request with the same id
    durable    False: unknown whether it was stored
    """

    decision: Decision
    replayed: bool = False
    durable: bool = True
