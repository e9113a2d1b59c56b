"""How much a caller uses of what it may."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bandit.domain.errors import RateLimited

BURST_S = 1.0  # of calls that were not made may be made up for
_STREAM_RETRY_S = 1.0


class Usage:
    """
    The calls and streams of one credential in this process.

    calls_per_second  None: no limit; otherwise a bucket that holds one second's calls, at least one
    max_streams       at once
    clock             seconds, never going back
    """

    def __init__(
        self, *, calls_per_second: float | None, max_streams: int, clock: Callable[[], float]
    ) -> None:
        self._calls_per_second = calls_per_second
        self._max_streams = max_streams
        self._clock = clock
        self._most = max(1.0, (calls_per_second or 0.0) * BURST_S)
        self._left = self._most
        self._at = clock()
        self._streams = 0

    def call(self) -> None:
        """Count one call, or one message of a stream; `RateLimited` where they are used up."""
        rate = self._calls_per_second
        if rate is None:
            return
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * rate)
        self._at = now
        if self._left < 1:
            raise RateLimited(
                "calls", f"{rate:g} calls per second here", retry_after_s=(1 - self._left) / rate
            )
        self._left -= 1

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Count a stream while it lasts; `RateLimited` where there are enough."""
        if self._streams >= self._max_streams:
            raise RateLimited(
                "streams", f"{self._max_streams} streams at once", retry_after_s=_STREAM_RETRY_S
            )
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1
