"""Which rows and alarms count in a state that is made anew."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from bandit.domain.errors import InvalidInput
from bandit.features.schema import FeatureSchema
from bandit.learning.alarms import Alarm
from bandit.learning.exclusion import Exclusion
from bandit.routing.history import KeptState
from bandit.routing.log_fold import LogFold
from bandit.routing.ports import Cell


@dataclass(frozen=True, slots=True)
class Asked:
    """
    What to make of the log.

    until            leave out what was received later
    without_sources  leave out these sources' rows
    snapshot_id      a rollback to this snapshot, with neither of them
    promote          put it in the place of what is served
    accept_loss      though the log no longer holds all that was learned
    """

    until: datetime | None = None
    without_sources: tuple[str, ...] = ()
    snapshot_id: int | None = None
    promote: bool = False
    accept_loss: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """
    What counts.

    beside       ids of earlier exclusions that stay in force
    new          exclusions that come to them
    exclusions   all of these
    alarms       those that stay
    kept         of a rollback: what the snapshot holds
    """

    beside: frozenset[int]
    new: tuple[Exclusion, ...]
    exclusions: tuple[Exclusion, ...]
    alarms: Mapping[Cell, tuple[Alarm, ...]]
    kept: KeptState | None = None


def rules_for(log: LogFold, asked: Asked, schema: FeatureSchema, now: datetime) -> Rules:
    """What counts in the state that is asked for; InvalidInput, UnknownSnapshot."""
    sources = log.sources()
    # A router's clock may be ahead: what is there already is left out, whenever it says it came.
    until = max([now, *(last for _, last in sources.values())])
    kept = None
    beside, alarms = log.exclusion_ids(), log.alarms()
    new: list[Exclusion] = []
    if asked.snapshot_id is not None:
        if asked.until is not None or asked.without_sources:
            raise InvalidInput("snapshot_id", "goes with neither a moment nor sources")
        kept = log.snapshot(asked.snapshot_id, schema.id)
        beside, alarms = kept.exclusions, kept.alarms
        new.append(Exclusion(None, kept.info.at, until))
    if asked.until is not None:
        if asked.until >= now:
            raise InvalidInput("until", "must be in the past")
        new.append(Exclusion(None, asked.until, until))
        alarms = _raised_until(alarms, asked.until)
    for position, source in enumerate(asked.without_sources):
        if source not in sources:
            known = ", ".join(sorted(sources)) or "none at all"
            raise InvalidInput(
                f"without_sources[{position}]",
                f"{source!r} has reported nothing; those who have: {known}",
            )
        new.append(Exclusion(source, None, until))
        alarms = _raised_before(alarms, sources[source][0])
    in_force = (*log.exclusions_of(beside), *new)
    return Rules(beside, tuple(new), in_force, alarms, kept)


def _raised_until(
    alarms: Mapping[Cell, tuple[Alarm, ...]], until: datetime
) -> dict[Cell, tuple[Alarm, ...]]:
    return {
        cell: tuple(alarm for alarm in of_cell if (alarm.raised_at or alarm.at) <= until)
        for cell, of_cell in alarms.items()
    }


def _raised_before(
    alarms: Mapping[Cell, tuple[Alarm, ...]], first: datetime
) -> dict[Cell, tuple[Alarm, ...]]:
    """A poisoned row may have raised any alarm since it came in."""
    return {
        cell: tuple(alarm for alarm in of_cell if (alarm.raised_at or alarm.at) < first)
        for cell, of_cell in alarms.items()
    }
