"""What changes while a replay runs: prices, costs, qualities, and arms that come and go."""

from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from bandit.domain.errors import InvalidInput
from bandit.kernels.jit import Array

FIELD = "--at"
MOST_FACTOR = 1e6


class Change(StrEnum):
    """What an event changes."""

    PRICE = "price"  # list price and real cost, and the router is told
    COST = "cost"  # real cost, and nobody is told
    QUALITY = "quality"  # quality, and nobody is told
    ADD = "add"  # the model was absent until then
    REMOVE = "remove"


_WITH_FACTOR = (Change.PRICE, Change.COST, Change.QUALITY)


@dataclass(frozen=True, slots=True)
class Event:
    """
    One change at a position of the stream, counted from the first measured decision.

    factor  multiplies what was recorded, until the next event of this kind for this model; so 1
            restores it.  Above 0 for prices and costs, from 0 for quality, which stays within 1.
    """

    at: int
    change: Change
    model: str
    factor: float = 1.0

    def __post_init__(self) -> None:
        if self.at < 0:
            raise InvalidInput(FIELD, "positions count from 0, the first measured decision")
        least_is_open = self.change is not Change.QUALITY
        if not 0 <= self.factor <= MOST_FACTOR or (least_is_open and self.factor == 0):
            raise InvalidInput(
                FIELD, f"{self.model!r}: a factor of {self.change} is a number above 0"
            )

    def __str__(self) -> str:
        factor = f" x{self.factor:g}" if self.change in _WITH_FACTOR else ""
        return f"{self.change} {self.model}{factor}"


@dataclass(frozen=True, slots=True)
class Script:
    """Events in the order of their positions; checked against each other."""

    events: tuple[Event, ...] = ()

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.events, key=lambda event: event.at))
        object.__setattr__(self, "events", ordered)
        seen = set()
        for event in ordered:
            kind = event.change if event.change in _WITH_FACTOR else Change.ADD
            if (event.at, kind, event.model) in seen:
                raise InvalidInput(FIELD, f"{event.model!r} changes twice at {event.at}")
            seen.add((event.at, kind, event.model))
        _check_presence(ordered)

    @property
    def positions(self) -> tuple[int, ...]:
        """The positions at which something changes, each once, rising."""
        return tuple(sorted({event.at for event in self.events}))

    def at(self, position: int) -> tuple[Event, ...]:
        """The events of that position."""
        return tuple(event for event in self.events if event.at == position)


def _check_presence(ordered: Sequence[Event]) -> None:
    last: dict[str, Change] = {}
    for event in ordered:
        if event.change not in (Change.ADD, Change.REMOVE):
            continue
        if last.get(event.model) is event.change:
            raise InvalidInput(FIELD, f"{event.change} {event.model!r} at {event.at} is too late")
        last[event.model] = event.change


NO_SCRIPT = Script()


@dataclass(frozen=True, slots=True, eq=False)
class Conditions:
    """
    A script spelt out for the models of a table: one row before the first change, one after each.

    positions    (changes,)              rising
    price, cost  (changes + 1, models)   factors of the list price, and of the real cost besides
    quality      (changes + 1, models)   factors of the quality
    is_present   (changes + 1, models)
    """

    positions: NDArray[np.int64]
    price: Array
    cost: Array
    quality: Array
    is_present: NDArray[np.bool_]

    def state_at(self, measured: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row of the other arrays at positions that count from the first measured decision."""
        return np.searchsorted(self.positions, measured, side="right").astype(np.int64)

    def state_after(self, event: Event) -> int:
        """Row of the other arrays from the position of that event on."""
        return int(np.searchsorted(self.positions, event.at, side="right"))


def check(script: Script, *, models: Sequence[str], priced: Container[str], measured: int) -> None:
    """
    Refuse what cannot be played.

    models    of the table; some must be left at any time
    priced    the models that have a list price
    measured  measured decisions of the stream
    """
    for event in script.events:
        if event.at >= measured:
            raise InvalidInput(FIELD, f"{event.at} is beyond the last of {measured} decisions")
        if event.change is Change.PRICE and event.model not in priced:
            raise InvalidInput(FIELD, f"{event.model!r} has no list price to change")
    conditions_of(script, models)


def conditions_of(script: Script, models: Sequence[str]) -> Conditions:
    """The conditions of every model; at least one must be present at any time."""
    number = {model: position for position, model in enumerate(models)}
    absent = _absent_at_first(script)
    factors = {change: np.ones(len(models)) for change in _WITH_FACTOR}
    is_present = np.array([model not in absent for model in models])
    rows: dict[Change, list[Array]] = defaultdict(list)
    presence = []

    def keep(at: int) -> None:
        if not is_present.any():
            raise InvalidInput(FIELD, f"no model is left at {at}")
        for change in _WITH_FACTOR:
            rows[change].append(factors[change].copy())
        presence.append(is_present.copy())

    keep(0)
    for position in script.positions:
        for event in script.at(position):
            model = number[event.model]
            if event.change in _WITH_FACTOR:
                factors[event.change][model] = event.factor
            else:
                is_present[model] = event.change is Change.ADD
        keep(position)
    return Conditions(
        positions=np.array(script.positions, dtype=np.int64),
        price=np.array(rows[Change.PRICE]),
        cost=np.array(rows[Change.COST]),
        quality=np.array(rows[Change.QUALITY]),
        is_present=np.array(presence),
    )


def _absent_at_first(script: Script) -> set[str]:
    """The models whose first coming or going is a coming."""
    first: dict[str, Change] = {}
    for event in script.events:
        if event.change in (Change.ADD, Change.REMOVE):
            first.setdefault(event.model, event.change)
    return {model for model, change in first.items() if change is Change.ADD}


def script_of(triples: Iterable[tuple[int, str, str]], models: Sequence[str]) -> Script:
    """
    The script that three words each spell: `600 price gemini=0.1x`, `900 remove mistral`.

    A model may be named by any part of its name that no other has; case does not matter.
    """
    return Script(tuple(_event(at, what, which, models) for at, what, which in triples))


def _event(at: int, what: str, which: str, models: Sequence[str]) -> Event:
    try:
        change = Change(what)
    except ValueError:
        raise InvalidInput(FIELD, f"{what!r} is none of {', '.join(Change)}") from None
    if change not in _WITH_FACTOR:
        return Event(at, change, _model(which, models))
    name, separator, factor = which.rpartition("=")
    if not separator:
        raise InvalidInput(FIELD, f"{which!r} is not MODEL=FACTOR, as in gemini=0.5x")
    try:
        number = float(factor.removesuffix("x"))
    except ValueError:
        raise InvalidInput(FIELD, f"{factor!r} is not a factor, as in 0.5x") from None
    return Event(at, change, _model(name, models), number)


def _model(part: str, models: Sequence[str]) -> str:
    if part in models:
        return part
    found = [model for model in models if part.lower() in model.lower()]
    if len(found) == 1 and part:
        return found[0]
    problem = f"fits {', '.join(found)}" if found and part else f"fits none of {', '.join(models)}"
    raise InvalidInput(FIELD, f"{part!r} {problem}")
