"""A model that can be chosen."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import NewType
from uuid import UUID

from bandit.domain.errors import InvalidInput
from bandit.domain.objective import Objective
from bandit.domain.offline_prior import OfflinePrior
from bandit.domain.price import MOST_USD, Price, PriceVersion

ArmId = NewType("ArmId", UUID)

ARM_KEY_BYTES = 16
LONGEST_NAME = 200


class ArmStatus(StrEnum):
    """Where an arm is in its life; only explore and active arms are chosen."""

    SHADOW = "shadow"  # scored, never chosen
    EXPLORE = "explore"  # new: chosen, until it has been tried often enough
    ACTIVE = "active"
    DRAINING = "draining"  # not chosen, outcomes still folded
    RETIRED = "retired"  # a tombstone: its statistics stay, its id is never used again

    @property
    def is_choosable(self) -> bool:
        """Whether an arm in this status may be chosen."""
        return self in (ArmStatus.EXPLORE, ArmStatus.ACTIVE)


def checked_name(field: str, name: str) -> str:
    """`name`, if it is 1 to 200 printable characters without blanks at either end."""
    if not name or len(name) > LONGEST_NAME or name != name.strip() or not name.isprintable():
        raise InvalidInput(field, f"must be 1 to {LONGEST_NAME} printable characters")
    return name


def arm_bits(arm_id: ArmId) -> tuple[int, int]:
    """An arm's id as two halves of 64 bits, high and low."""
    return arm_id.int >> 64, arm_id.int & 0xFFFF_FFFF_FFFF_FFFF


def arm_key(arm_id: ArmId) -> bytes:
    """The two halves as they lie in memory, little-endian."""
    return struct.pack("<QQ", *arm_bits(arm_id))


def arm_from_bits(bits: Sequence[int]) -> ArmId:
    """The arm's id from its two halves."""
    return ArmId(UUID(int=(int(bits[0]) << 64) | int(bits[1])))


@dataclass(frozen=True, slots=True)
class Arm:
    """
    A model (or a mode of one, or a retriever) of one policy.

    prices                  in the order of `valid_from`; empty: its costs alone are learned
    context_window_tokens   input plus output tokens it can take; None: unlimited
    offline                 what outcomes recorded elsewhere say of it; fixed for its life
    explore_limit_usd       what its trials may cost together while it is new; None: unlimited
    """

    id: ArmId
    name: str
    status: ArmStatus = ArmStatus.ACTIVE
    prices: tuple[PriceVersion, ...] = ()
    context_window_tokens: int | None = None
    offline: Mapping[Objective, OfflinePrior] = field(default_factory=lambda: MappingProxyType({}))
    explore_limit_usd: float | None = None

    def __post_init__(self) -> None:
        checked_name("arm.name", self.name)
        object.__setattr__(self, "offline", MappingProxyType(dict(self.offline)))
        if self.context_window_tokens is not None and self.context_window_tokens <= 0:
            raise InvalidInput("arm.context_window_tokens", "must be positive")
        if self.explore_limit_usd is not None and not 0 < self.explore_limit_usd <= MOST_USD:
            raise InvalidInput("arm.explore_limit_usd", f"must be above 0, up to {MOST_USD:g}")

    def price_at(self, now: datetime) -> Price | None:
        """The price in force at `now`; None if none is yet."""
        in_force = [version.price for version in self.prices if version.valid_from <= now]
        return in_force[-1] if in_force else None
