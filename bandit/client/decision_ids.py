"""Decision ids made by the caller, so that a repeated call is one decision."""

import secrets
import time
from uuid import UUID


def new_decision_id() -> UUID:
    """A UUIDv7 of now (RFC 9562, 5.7): 48 bits of Unix milliseconds, then 74 random ones."""
    return uuid7(time.time_ns() // 1_000_000, secrets.randbits(74))


def uuid7(unix_ms: int, random: int) -> UUID:
    """The UUIDv7 of these milliseconds and 74 random bits."""
    high = (unix_ms << 16) | (7 << 12) | (random >> 62)
    low = (0b10 << 62) | (random & ((1 << 62) - 1))
    return UUID(int=(high << 64) | low)
