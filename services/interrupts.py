"""Ctrl-C and its like, made one exception that comes when it can be dealt with."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """
    Raises KeyboardInterrupt at the first SIGINT, SIGTERM or SIGHUP; the next ones change nothing.

    So whoever cleans up afterwards is not interrupted in that.  Outside the main thread, where
    Python takes no signals, this does nothing.
    """

    def __init__(self) -> None:
        self._holders = 0
        self._waiting = False
        self._is_over = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Within the block signals are dealt with here, after it as before."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[signal.Signals, Any] = {}
        try:
            for number in _NUMBERS:
                before[number] = signal.signal(number, self._arrived)
            yield
        finally:
            self._is_over = True
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within the block a signal waits for its end."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1
        if self._waiting and not self._is_over:
            self._is_over = True
            raise KeyboardInterrupt

    def ignore(self) -> None:
        """From now on signals change nothing: the end has begun."""
        self._is_over = True

    def _arrived(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_over:
            return
        if self._holders:
            self._waiting = True
            return
        self._is_over = True
        raise KeyboardInterrupt
