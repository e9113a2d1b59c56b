"""
The side of a process that the supervisor started: its orders, the end of its parent, its readiness.

Standard library only, and used before anything slow is imported.
"""

import json
import os
import select
import signal
import sys
import threading
import time
from queue import SimpleQueue
from typing import Any

SUPERVISED = "--supervised"
_POLL_S = 0.5


class Parent:
    """
    The supervisor, at the other end of standard input and output.

    It sends one line of JSON, the settings to use, and then nothing: when the pipe ends, or another
    process becomes our parent, it is gone, and this process ends in good order by SIGTERM.
    """

    def __init__(self) -> None:
        self._pid = os.getppid()
        # What is printed or read by accident must not touch the pipes.
        self._input, self._output = os.dup(0), os.dup(1)
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)
        self._orders: SimpleQueue[bytes] = SimpleQueue()
        self._grace_s = 0.0
        threading.Thread(target=self._watch, name="parent", daemon=True).start()

    def orders(self) -> dict[str, Any]:
        """The settings to use, as soon as they are there."""
        orders: dict[str, Any] = json.loads(self._orders.get())
        self._grace_s = float(orders.get("grace_s") or 0.0)
        return orders

    def tell_ready(self, **facts: int) -> None:
        """Tell the supervisor, whether or not it still listens."""
        try:
            os.write(self._output, json.dumps(facts).encode() + b"\n")
        except BrokenPipeError:
            return

    def _watch(self) -> None:
        received = b""
        while os.getppid() == self._pid:
            readable, _, _ = select.select([self._input], [], [], _POLL_S)
            if not readable:
                continue
            news = os.read(self._input, 65_536)
            if not news:
                break
            received += news
            if b"\n" in received:
                self._orders.put(received.partition(b"\n")[0])
                received = b""
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(self._grace_s + 5.0)
        os._exit(1)


def parent() -> Parent | None:
    """The supervisor, if it started this process."""
    return Parent() if SUPERVISED in sys.argv[1:] else None
