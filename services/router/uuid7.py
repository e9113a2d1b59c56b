"""Ids that sort by the moment they were made."""

from datetime import UTC, datetime
from uuid import UUID

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RANDOM_BYTES = 10


def uuid7(at: datetime, random: bytes) -> UUID:
    """
    The UUIDv7 of a moment: 48 bits of milliseconds, version, 12 random bits, variant, 62 more.

    random  10 bytes
    Source: RFC 9562, section 5.7.
    """
    since = at - _EPOCH
    milliseconds = (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000
    drawn = int.from_bytes(random[:RANDOM_BYTES], "big")
    high = (milliseconds << 16) | (0x7 << 12) | (drawn >> 68)
    low = (0b10 << 62) | (drawn & (1 << 62) - 1)
    return UUID(int=(high << 64) | low)
