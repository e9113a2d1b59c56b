"""How fast calls are answered while many wait, and so how long another one would."""

from collections.abc import Callable

BUSY = 64  # calls under way, below which nobody waits for long
_WINDOW_S = 0.2
_REMEMBERED_S = 10.0


class Pace:
    """
    Counts calls that end while others wait.

    Only then does the count say what the process can do, and not what it is asked for.

    clock   seconds, never going back
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: float | None = None  # the process has been busy all the time
        self._ended = 0
        self._per_second = 0.0
        self._known_at = 0.0

    def end(self, under_way: int) -> None:
        """A call ended, and so many others go on."""
        if under_way < BUSY:
            self._since = None
            return
        if self._since is None:
            self._since, self._ended = self._clock(), 0
            return
        self._ended += 1
        elapsed = self._clock() - self._since
        if elapsed >= _WINDOW_S:
            self._per_second = self._ended / elapsed
            self._known_at = self._clock()
            self._since, self._ended = self._known_at, 0

    def wait_s(self, under_way: int) -> float:
        """How long a call would take behind so many; 0 where that is not known."""
        if under_way < BUSY or not self._per_second:
            return 0.0
        if self._clock() - self._known_at > _REMEMBERED_S:
            return 0.0
        return under_way / self._per_second
