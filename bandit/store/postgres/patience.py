"""A blocking connection that does not wait for ever on a server that fell silent."""

import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
from psycopg.waiting import Ready

PATIENCE_S = 2.0

_Result = TypeVar("_Result")


class PatientConnection(psycopg.Connection[Any]):
    """
    patience_s  seconds that a statement may take before the connection is given up; None: any

    The server's own statement timeout comes first wherever there is a server: this one is for a
    network that swallows packets, and for a server that is stopped or swaps.
    """

    patience_s: float | None = PATIENCE_S

    def wait(self, gen: Generator[Any, Any, _Result], *args: Any, **kwargs: Any) -> _Result:
        """As the driver does it, with an end."""
        if self.patience_s is None:
            return super().wait(gen, *args, **kwargs)
        deadline = time.monotonic() + self.patience_s
        try:
            return super().wait(_until(deadline, gen), *args, **kwargs)
        except _Silent:
            self.pgconn.finish()
            raise psycopg.OperationalError("the server fell silent") from None


class _Silent(Exception):
    """The deadline passed."""


def _until(deadline: float, gen: Generator[Any, Any, _Result]) -> Generator[Any, Any, _Result]:
    """The same conversation with the socket, which ends at the deadline."""
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if ready == Ready.NONE and time.monotonic() > deadline:
                raise _Silent
            wanted = gen.send(ready)
    except StopIteration as end:
        result: _Result = end.value
        return result
