"""How often a piece of work can be done in a second."""

import time
from collections.abc import Callable


def rate(work: Callable[[], object], *, units: int = 1, for_s: float = 0.05) -> float:
    """Units of work per second, over about so long."""
    work()
    calls, started = 0, time.perf_counter()
    while (spent := time.perf_counter() - started) < for_s:
        work()
        calls += 1
    return calls * units / spent
