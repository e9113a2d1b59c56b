"""Ids that sort by the moment they were made."""

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RANDOM_BYTES = 10
_AT_ONCE = 256


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


class Uuid7s:
    """
    Fresh ids, one after the other; for one thread.

    clock         the moment, in UTC
    random_bytes  so many secret bytes; asked for many ids at once, since each time is a system call
    """

    def __init__(self, clock: Callable[[], datetime], random_bytes: Callable[[int], bytes]) -> None:
        self._clock = clock
        self._random_bytes = random_bytes
        self._drawn = b""
        self._used = 0

    def __call__(self) -> UUID:
        """The next one."""
        if self._used == len(self._drawn):
            self._drawn, self._used = self._random_bytes(_AT_ONCE * RANDOM_BYTES), 0
        self._used += RANDOM_BYTES
        return uuid7(self._clock(), self._drawn[self._used - RANDOM_BYTES : self._used])
