"""`bandit-router bench soak`: minutes of steady load, and what grows meanwhile."""

import statistics
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.wire.load import CONNECTIONS, steady
from benchmarks.wire.service import Service

SHARE = 0.8  # of the capacity
CAPACITY_ROUNDS = 7
SAMPLE_S = 5.0
FIRST_S = 30.0  # left out: buffers fill, and the server's pages are touched for the first time


@dataclass(frozen=True, slots=True)
class Half:
    """
    One half of the time.

    answered   of the calls that were due, 0 to 1: less means that they pile up
    p50_ms, p99_ms
    memory_mb  resident, median and most of the samples
    """

    answered: float
    p50_ms: float
    p99_ms: float
    memory_mb: float
    most_memory_mb: float


def soak(service: Service, *, minutes: float) -> tuple[float, list[Half]]:
    """The rate per second that was sent, and both halves of the time."""
    capacity = statistics.median(service.rate(service.router) for _ in range(CAPACITY_ROUNDS))
    each = round(SHARE * capacity / CONNECTIONS)
    seconds = minutes * 60
    with tempfile.TemporaryDirectory() as folder, _memory_of(service.router_pid) as samples:
        log = Path(folder) / "calls"
        steady(service.router, service.select, log, seconds=seconds, per_connection=each)
        started_us, took_us = np.loadtxt(log, usecols=(0, 2), unpack=True)
    since_s = (started_us - started_us.min()) / 1e6
    rate = each * CONNECTIONS
    middle = (FIRST_S + seconds) / 2
    return rate, [
        _half(since_s, took_us, samples, rate, begin, end)
        for begin, end in ((FIRST_S, middle), (middle, seconds))
    ]


def _half(
    since_s: np.ndarray,
    took_us: np.ndarray,
    samples: Sequence[float],
    rate: float,
    begin: float,
    end: float,
) -> Half:
    took_ms = took_us[(since_s >= begin) & (since_s < end)] / 1e3
    memory = samples[int(begin / SAMPLE_S) : int(end / SAMPLE_S)]
    p50, p99 = np.percentile(took_ms, [50, 99])
    return Half(
        len(took_ms) / (rate * (end - begin)),
        float(p50),
        float(p99),
        statistics.median(memory),
        max(memory),
    )


@contextmanager
def _memory_of(pid: int) -> Iterator[list[float]]:
    """Megabytes that a process holds, every few seconds."""
    samples: list[float] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLE_S):
            status = Path(f"/proc/{pid}/status").read_text()
            line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
            samples.append(int(line.split()[1]) / 1024)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield samples
    finally:
        over.set()
        watching.join()
