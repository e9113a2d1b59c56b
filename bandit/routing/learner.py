"""The use case of a learner: fold what is due into the posteriors, once."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType

from bandit.domain.decision import Decision
from bandit.domain.errors import CorruptPosterior
from bandit.domain.policy import Policy
from bandit.features.schema import FeatureSchema, schema_of
from bandit.learning.alarms import Monitor, discounted
from bandit.learning.decay import Forgetting, rebased, weight_of
from bandit.learning.decay import as_of as decayed
from bandit.learning.effective import value_taught
from bandit.learning.exclusion import counted
from bandit.learning.posterior import posterior_from
from bandit.learning.prior import prior_of
from bandit.learning.sums import Evidence, Sums, folded, no_outcomes
from bandit.routing.evidence import evidence_of
from bandit.routing.ledger import Reservation, Settlement
from bandit.routing.misfit import DECISION, OUTCOME, Damaged, Judge, Misfit, misfit_of
from bandit.routing.ports import Cell, Due, Fold, Key, LearningStore, StoredSums
from bandit.routing.settling import Known, lapsed, settlements
from bandit.routing.watching import Observed, Raised, Watched, event_of, watched

MICRO_BATCH = 1000
HOLD = timedelta(seconds=10)
EARLY_HOLD = timedelta(seconds=1)  # until the policy has been read again


_NOTHING_WRITTEN: Mapping[Cell, StoredSums] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Folded:
    """
    What one transaction did.

    settled          dirty keys taken off the line
    written          the sums of the cells that changed
    held             dirty keys put off, because their cell is corrupt or their arm too new
    faults           the corrupt cells, with the reason
    learned_version  None: nothing changed
    alarms           raised in it
    misfits          what was set aside in it
    """

    settled: int = 0
    held: int = 0
    faults: Mapping[Cell, str] | None = None
    learned_version: int | None = None
    alarms: tuple[Raised, ...] = ()
    misfits: tuple[Misfit, ...] = ()
    written: Mapping[Cell, StoredSums] = field(default_factory=lambda: _NOTHING_WRITTEN)


@dataclass(frozen=True, slots=True, eq=False)
class _Change:
    """The contribution of one (decision, head), as it was and as it is to be; None: nothing."""

    key: Key
    cell: Cell
    decision: Decision
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True, eq=False)
class _Reading:
    """
    What the log says of the keys in line.

    stored   the sums of all cells of these keys
    changes  what differs between it and the sums; the same order whatever the arrival
    misfits  what cannot be learned
    early    of arms that the policy held here does not know yet
    """

    stored: Mapping[Cell, StoredSums]
    changes: list[_Change]
    misfits: list[Misfit]
    early: set[Key]


@dataclass(frozen=True, slots=True, eq=False)
class _Successor:
    """What a cell becomes, with the watch over it."""

    stored: StoredSums
    watch: Watched


def fold_due(
    store: LearningStore, policy: Policy, *, now: datetime, limit: int = MICRO_BATCH
) -> Folded | None:
    """
    Fold at most `limit` due keys of a policy in one transaction; None if another learner has it.

    The successor of every touched cell is computed and checked before anything is written.
    """
    with store.begin(policy.id) as fold:
        if fold is None:
            return None
        over = fold.expired_reservations(now=now, limit=limit)
        due = fold.due(now=now, limit=limit)
        if not due:
            fold.settle_costs(lapsed(over))
            return Folded()
        return _fold(fold, policy, due, over, now)


def _fold(
    fold: Fold, policy: Policy, due: Sequence[Due], over: Sequence[Reservation], now: datetime
) -> Folded:
    schema = schema_of(policy.settings.context)
    reading = _read(fold, policy, schema, {item.key for item in due if item.key is not None}, now)
    changes = reading.changes
    misfits = [*(item.misfit for item in due if item.misfit is not None), *reading.misfits]
    cells = {change.cell for change in changes}
    monitors = fold.monitors(cells)
    successors, faults = _successors(policy, schema, changes, reading.stored, monitors, now)

    kept = [change for change in changes if change.cell not in faults]
    corrupt = {change.key for change in changes if change.cell in faults}
    put_off = corrupt | reading.early
    held = [item.ticket for item in due if item.key in corrupt] if corrupt else []
    early = [item.ticket for item in due if item.key in reading.early] if reading.early else []
    settled = [item.ticket for item in due if not put_off or item.key not in put_off]
    alarms = tuple(raised for it in successors.values() for raised in it.watch.raised)
    written = {cell: successor.stored for cell, successor in successors.items()}
    version = None
    if kept:
        fold.write(
            schema_id=schema.id,
            sums=written,
            contributions={change.key: change.after for change in kept},
        )
        fold.watch({cell: successor.watch.monitor for cell, successor in successors.items()})
        for raised in alarms:
            fold.raise_alarm(raised.cell, raised.alarm, event_of(policy, raised, at=now))
        version = fold.advance()
    fold.quarantine(misfits, at=now)
    fold.settle(settled)
    fold.postpone(held, until=now + HOLD)
    fold.postpone(early, until=now + EARLY_HOLD)
    # At once and last: routers wait for the rows of the ledger that this locks.
    fold.settle_costs([*lapsed(over), *_settlements(fold, policy, kept, over)])
    return Folded(
        len(settled), len(held) + len(early), faults, version, alarms, tuple(misfits), written
    )


def _settlements(
    fold: Fold, policy: Policy, kept: Sequence[_Change], over: Sequence[Reservation]
) -> list[Settlement]:
    """What was booked for these decisions gives way to what they really cost."""
    charged = [change for change in kept if change.decision.charge is not None]
    if not charged:
        return []
    known = [Known(c.decision, c.key[1], c.before, c.after) for c in charged]
    ended = {reservation.decision_id for reservation in over}
    held = fold.reservations({change.decision.id for change in charged} - ended)
    return settlements(policy, known, held)


def _read(
    fold: Fold, policy: Policy, schema: FeatureSchema, keys: set[Key], now: datetime
) -> _Reading:
    """What differs between the log and the sums, and what of the log cannot be learned."""
    decisions = fold.decisions({decision_id for decision_id, _ in keys})
    cells = {
        (decision.arm_id, head)
        for decision_id, head in keys
        if isinstance(decision := decisions.get(decision_id), Decision)
    }
    # The sums are read before what is in them: whoever writes both meanwhile was first, and the
    # versions show it, even if the policy's lock did not hold.
    stored = fold.sums(schema.id, cells)
    exclusions = fold.exclusions()
    outcomes = fold.outcomes(keys)
    contributions = fold.contributions(keys)
    judge = Judge(policy, schema)
    faults = {id_: _fault_of(decision, judge) for id_, decision in decisions.items()}
    reading = _Reading(stored, [], [], set())
    decision_id, decision = None, None
    for key in sorted(keys, key=_in_order):
        if key[0] is not decision_id:  # hashing an id takes longer than looking
            decision_id = key[0]
            decision = decisions.get(decision_id)
        objective = key[1]
        rows = counted(outcomes.get(key, []), exclusions)
        if decision is None:
            if rows:  # without any, all of the day is gone
                reason = "the log has no such decision"
                reading.misfits.append(misfit_of(DECISION, decision_id, objective, reason))
            continue
        if isinstance(decision, Damaged):
            reading.misfits.append(
                misfit_of(DECISION, decision_id, objective, decision.reason, decision.payload)
            )
            continue
        if judge.is_early(decision):
            reading.early.add(key)
            continue
        if faults[decision_id]:
            reading.misfits.append(misfit_of(DECISION, decision_id, objective, faults[decision_id]))
            continue
        after = value_taught(decision, objective, rows, now=now)
        before = contributions.get(key)
        if after == before:
            continue
        fault = "" if after is None else judge.fault_in(decision, objective, after)
        if fault:
            reading.misfits.append(misfit_of(OUTCOME, decision_id, objective, fault))
            continue
        cell = (decision.arm_id, objective)
        reading.changes.append(_Change(key, cell, decision, before, after))
    return reading


def _in_order(key: Key) -> int:
    """As the keys themselves compare, and many times as fast."""
    return key[0].int << 2 | key[1]


def _fault_of(decision: Decision | Damaged, judge: Judge) -> str:
    return decision.reason if isinstance(decision, Damaged) else judge.fault_of(decision)


def _successors(
    policy: Policy,
    schema: FeatureSchema,
    changes: list[_Change],
    stored: Mapping[Cell, StoredSums],
    monitors: Mapping[Cell, Monitor],
    now: datetime,
) -> tuple[dict[Cell, _Successor], dict[Cell, str]]:
    """The new sums of every cell that can take its changes, and why the others cannot."""
    by_cell: dict[Cell, list[_Change]] = defaultdict(list)
    for change in changes:
        by_cell[change.cell].append(change)
    successors: dict[Cell, _Successor] = {}
    faults: dict[Cell, str] = {}
    usable: list[tuple[Cell, Sums, Watched, Forgetting]] = []
    for cell in sorted(by_cell):
        held = stored.get(cell)
        if held is not None and held.sums is None:
            faults[cell] = held.fault
            continue
        try:
            watch = watched(
                policy,
                schema,
                cell,
                held=held,
                monitor=monitors.get(cell),
                observed=[
                    Observed(change.decision, change.after)
                    for change in by_cell[cell]
                    if change.before is None and change.after is not None
                ],
                now=now,
            )
        except CorruptPosterior as error:
            faults[cell] = str(error)
            continue
        latest = max(change.decision.at for change in by_cell[cell])
        sums = (
            held.sums
            if held is not None and held.sums is not None
            else no_outcomes(schema.features, epoch=latest)
        )
        # All that is in the sums was decided at or before the alarms raised now.
        sums = discounted(sums, math.prod(raised.alarm.weight for raised in watch.raised))
        half_life_hours = policy.settings.half_life_hours.get(cell[1])
        forgetting = Forgetting(half_life_hours, watch.monitor.alarms)
        usable.append((cell, rebased(sums, latest, forgetting), watch, forgetting))

    evidence: list[Evidence] = []
    for position, (cell, sums, _, forgetting) in enumerate(usable):
        for change in by_cell[cell]:
            weight = weight_of(change.decision.at, epoch=sums.epoch, forgetting=forgetting)
            evidence.extend(
                evidence_of(position, change.decision, cell[1], value, sign * weight, policy)
                for value, sign in ((change.before, -1.0), (change.after, 1.0))
                if value is not None
            )
    successive = folded([sums for _, sums, _, _ in usable], evidence)
    for (cell, _, watch, forgetting), sums in zip(usable, successive, strict=True):
        try:
            # At the scale of now: at the epoch's, weights and their rounding may be huge.
            current = decayed(sums, now, forgetting)
            posterior_from(current, prior_of(schema, cell[1]))
        except CorruptPosterior as error:
            faults[cell] = str(error)
            continue
        held = stored.get(cell)
        new = sum((c.before is None) - (c.after is None) for c in by_cell[cell])
        successor = StoredSums(
            version=(held.version if held is not None else 0) + 1,
            observations=(held.observations if held is not None else 0) + new,
            sums=sums,
            alarms=watch.monitor.alarms,
        )
        successors[cell] = _Successor(successor, watch)
    return successors, faults
