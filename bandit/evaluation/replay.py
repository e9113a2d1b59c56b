"""
A stream of recorded outcomes, played through a router that sees only the chosen arm's row.

The router is behind a protocol: the use cases on the in-memory store (`in_process.py`) or a
running server; the loop is the same.
"""

import heapq
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from bandit.domain.preference import Tradeoff
from bandit.domain.price import Price
from bandit.evaluation.outcomes import Outcomes, outcomes_at
from bandit.evaluation.script import NO_SCRIPT, Change, Conditions, Event, Script, conditions_of
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

    def begin_measuring(self) -> None:
        """The decisions that follow are measured; told once, accounts of spending begin anew."""
        ...

    def set_price(self, model: str, price: Price) -> None:
        """This list price is in force from the next decision."""
        ...

    def add_arm(self, model: str, price: Price | None) -> None:
        """This model, absent until now, can be chosen from the next decision."""
        ...

    def remove_arm(self, model: str) -> None:
        """This model cannot be chosen any more; outcomes of it may still arrive."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Played:
    """
    One pass: what was chosen at every position, (steps,) each.

    predicted  (steps, heads)
    seconds    wall time of the loop
    script     what changed on the way
    """

    stream: Stream
    arms: NDArray[np.int64]
    propensities: Array
    predicted: Array
    seconds: float
    script: Script = field(default=NO_SCRIPT)


_NO_PRICES: Mapping[str, Price] = MappingProxyType({})


def play(
    table: OutcomeTable,
    stream: Stream,
    router: ReplayRouter,
    *,
    wave: int = 1,
    script: Script = NO_SCRIPT,
    prices: Mapping[str, Price] = _NO_PRICES,
    on_wave: Callable[[int], None] = lambda decisions: None,
) -> Played:
    """
    Play the stream in waves; outcomes due by a wave's first position are learned before it.

    No wave reaches across the beginning of the measured part, nor across an event of the script.
    prices   list prices before any event
    on_wave  is told how many decisions each wave brought
    """
    steps = len(stream)
    arms = np.zeros(steps, dtype=np.int64)
    propensities = np.zeros(steps)
    predicted: list[tuple[float, float, float]] = []
    rows, delays = stream.rows.tolist(), stream.delays.tolist()
    waiting: list[tuple[int, int]] = []  # (position at which it is due, position decided)
    ids = [decision_id(stream.seed, position) for position in range(steps)]
    outcomes = outcomes_at(table, stream, script, np.arange(steps))
    conditions = conditions_of(script, table.models)
    events = {stream.learn_first + at: script.at(at) for at in script.positions}
    cuts = sorted({stream.learn_first, *events, steps})

    started = time.perf_counter()
    first = 0
    while first < steps:
        due = []
        while waiting and waiting[0][0] <= first:
            due.append(heapq.heappop(waiting)[1])
        if due:
            router.report([_arrival(outcomes, stream, at, int(arms[at]), ids[at]) for at in due])
        if first == stream.learn_first:
            router.begin_measuring()
        # Who comes at the same position is there before its price is told.
        for event in sorted(events.get(first, ()), key=lambda event: event.change is Change.PRICE):
            _tell(router, event, conditions, table.models, prices)
        end = min(first + wave, next(cut for cut in cuts if cut > first))
        asks = [
            Ask(ids[position], rows[position], stream.tradeoffs[position])
            for position in range(first, end)
        ]
        for position, choice in zip(range(first, end), router.choose(asks), strict=True):
            arms[position] = choice.arm
            propensities[position] = choice.propensity
            predicted.append(choice.predicted)
            heapq.heappush(waiting, (position + 1 + delays[position], position))
        on_wave(len(asks))
        first = end
    seconds = time.perf_counter() - started
    return Played(
        stream, arms, propensities, np.array(predicted).reshape(steps, 3), seconds, script
    )


def present_at_first(script: Script, models: Sequence[str]) -> tuple[str, ...]:
    """The models that a router starts with: those that no event adds first."""
    present = conditions_of(script, models).is_present[0]
    return tuple(model for model, is_present in zip(models, present, strict=True) if is_present)


def _arrival(
    outcomes: Outcomes, stream: Stream, position: int, arm: int, decision: UUID
) -> Arrival:
    latency_ms = outcomes.latency_ms
    has_latency = latency_ms is not None and not np.isnan(latency_ms[position, arm])
    return Arrival(
        decision_id=decision,
        row=int(stream.rows[position]),
        arm=arm,
        quality=float(outcomes.quality[position, arm]) if stream.has_quality[position] else None,
        cost_usd=float(outcomes.cost_usd[position, arm]),
        latency_ms=float(latency_ms[position, arm])
        if latency_ms is not None and has_latency
        else None,
    )


def _tell(
    router: ReplayRouter,
    event: Event,
    conditions: Conditions,
    models: Sequence[str],
    prices: Mapping[str, Price],
) -> None:
    """What a router learns of an event; changes of cost and quality it has to find out."""
    model, state = models.index(event.model), conditions.state_after(event)
    factor = float(conditions.price[state, model])
    if event.change is Change.REMOVE:
        router.remove_arm(event.model)
    elif event.change is Change.ADD:
        listed = prices.get(event.model)
        router.add_arm(event.model, None if listed is None else _scaled(listed, factor))
    elif event.change is Change.PRICE and conditions.is_present[state, model]:
        router.set_price(event.model, _scaled(prices[event.model], factor))


def _scaled(price: Price, factor: float) -> Price:
    return Price(
        price.input_usd_per_million * factor,
        price.output_usd_per_million * factor,
        price.fee_usd * factor,
    )
