"""
A stream of recorded outcomes, played through a router that sees only the chosen arm's row.

The router is behind a protocol: the use cases on the in-memory store (`in_process.py`) or a
running server; the loop is the same.
"""

import heapq
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from bandit.domain.preference import Tradeoff
from bandit.evaluation.stream import Stream, decision_id
from bandit.evaluation.table import OutcomeTable
from bandit.kernels.jit import Array


@dataclass(frozen=True, slots=True)
class Ask:
    """One query of a replay: the row of the table and what the caller wants."""

    decision_id: UUID
    row: int
    tradeoff: Tradeoff


@dataclass(frozen=True, slots=True)
class Choice:
    """What came back: position of the arm among the table's models, and what was predicted."""

    arm: int
    propensity: float
    predicted: tuple[float, float, float]  # quality, USD, milliseconds


@dataclass(frozen=True, slots=True)
class Arrival:
    """The outcome of one decision, in its units; None: not measured, or it never arrives."""

    decision_id: UUID
    row: int
    arm: int
    quality: float | None
    cost_usd: float
    latency_ms: float | None


class ReplayRouter(Protocol):
    """A router under replay."""

    def choose(self, asks: Sequence[Ask]) -> list[Choice]:
        """Decide the queries of one wave, all from the state that is served now."""
        ...

    def report(self, arrivals: Sequence[Arrival]) -> None:
        """Take outcomes in; on return the state that has folded them is served."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Played:
    """
    One pass: what was chosen at every position, (steps,) each.

    predicted  (steps, heads)
    seconds    wall time of the loop
    """

    stream: Stream
    arms: NDArray[np.int64]
    propensities: Array
    predicted: Array
    seconds: float


def play(
    table: OutcomeTable,
    stream: Stream,
    router: ReplayRouter,
    *,
    wave: int = 1,
    on_wave: Callable[[int], None] = lambda decisions: None,
) -> Played:
    """
    Play the stream in waves; outcomes due by a wave's first position are learned before it.

    on_wave  is told how many decisions each wave brought
    """
    steps = len(stream)
    arms = np.zeros(steps, dtype=np.int64)
    propensities = np.zeros(steps)
    predicted = np.zeros((steps, 3))
    waiting: list[tuple[int, int]] = []  # (position at which it is due, position decided)
    ids = [decision_id(stream.seed, position) for position in range(steps)]

    def arrival(position: int) -> Arrival:
        row, arm = int(stream.rows[position]), int(arms[position])
        has_quality = bool(stream.has_quality[position])
        return Arrival(
            decision_id=ids[position],
            row=row,
            arm=arm,
            quality=float(table.quality[row, arm]) if has_quality else None,
            cost_usd=float(table.cost_usd[row, arm]),
            latency_ms=_latency(table, row, arm),
        )

    started = time.perf_counter()
    for first in range(0, steps, wave):
        due = []
        while waiting and waiting[0][0] <= first:
            due.append(heapq.heappop(waiting)[1])
        if due:
            router.report([arrival(position) for position in due])
        positions = range(first, min(first + wave, steps))
        asks = [
            Ask(ids[position], int(stream.rows[position]), stream.tradeoffs[position])
            for position in positions
        ]
        for position, choice in zip(positions, router.choose(asks), strict=True):
            arms[position] = choice.arm
            propensities[position] = choice.propensity
            predicted[position] = choice.predicted
            heapq.heappush(waiting, (position + 1 + int(stream.delays[position]), position))
        on_wave(len(asks))
    return Played(stream, arms, propensities, predicted, time.perf_counter() - started)


def _latency(table: OutcomeTable, row: int, arm: int) -> float | None:
    if table.latency_ms is None or np.isnan(table.latency_ms[row, arm]):
        return None
    return float(table.latency_ms[row, arm])
