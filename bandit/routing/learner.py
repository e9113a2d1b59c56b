"""The use case of a learner: fold what is due into the posteriors, once."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bandit.domain.decision import Decision, DecisionId
from bandit.domain.errors import CorruptPosterior
from bandit.domain.policy import Policy
from bandit.features.schema import FeatureSchema, schema_of
from bandit.learning.alarms import Monitor, discounted
from bandit.learning.decay import Forgetting, rebased, weight_of
from bandit.learning.decay import as_of as decayed
from bandit.learning.effective import value_taught
from bandit.learning.posterior import precision_factor
from bandit.learning.prior import prior_of
from bandit.learning.sums import Evidence, Sums, folded, no_outcomes
from bandit.learning.targets import target_of
from bandit.routing.ledger import Reservation, Settlement
from bandit.routing.ports import Cell, Due, Fold, Key, LearningStore, StoredSums
from bandit.routing.settling import Known, lapsed, settlements
from bandit.routing.watching import Observed, Raised, Watched, event_of, watched

MICRO_BATCH = 1000
HOLD = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Folded:
    """
    What one transaction did.

    settled          dirty keys taken off the line
    held             dirty keys put off, because their cell is corrupt
    faults           the corrupt cells, with the reason
    learned_version  None: nothing changed
    alarms           raised in it
    """

    settled: int = 0
    held: int = 0
    faults: Mapping[Cell, str] | None = None
    learned_version: int | None = None
    alarms: tuple[Raised, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Change:
    """The contribution of one (decision, head), as it was and as it is to be."""

    key: Key
    cell: Cell
    decision: Decision
    before: float | None
    after: float


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
    keys = {item.key for item in due}
    decisions = fold.decisions({decision_id for decision_id, _ in keys})
    # The sums are read before what is in them: whoever writes both meanwhile was first, and the
    # versions show it, even if the policy's lock did not hold.
    touched = {(decisions[id_].arm_id, head) for id_, head in keys if id_ in decisions}
    stored = fold.sums(schema.id, touched)
    changes = _changes(fold, keys, decisions, schema, now)
    cells = {change.cell for change in changes}
    monitors = fold.monitors(cells)
    successors, faults = _successors(policy, schema, changes, stored, monitors, now)

    kept = [change for change in changes if change.cell not in faults]
    held_keys = {change.key for change in changes if change.cell in faults}
    held = [item.ticket for item in due if item.key in held_keys]
    settled = [item.ticket for item in due if item.key not in held_keys]
    alarms = tuple(raised for it in successors.values() for raised in it.watch.raised)
    version = None
    if kept:
        fold.write(
            schema_id=schema.id,
            sums={cell: successor.stored for cell, successor in successors.items()},
            contributions={change.key: change.after for change in kept},
        )
        fold.watch({cell: successor.watch.monitor for cell, successor in successors.items()})
        for raised in alarms:
            fold.raise_alarm(raised.cell, raised.alarm, event_of(policy, raised, at=now))
        version = fold.advance()
    fold.settle(settled)
    fold.postpone(held, until=now + HOLD)
    # At once and last: routers wait for the rows of the ledger that this locks.
    fold.settle_costs([*lapsed(over), *_settlements(fold, policy, kept, over)])
    return Folded(len(settled), len(held), faults, version, alarms)


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


def _changes(
    fold: Fold,
    keys: set[Key],
    decisions: Mapping[DecisionId, Decision],
    schema: FeatureSchema,
    now: datetime,
) -> list[_Change]:
    """What differs between the log and the sums; the same order whatever the arrival."""
    outcomes = fold.outcomes(keys)
    contributions = fold.contributions(keys)
    changes = []
    for key in sorted(keys):
        decision = decisions.get(key[0])
        if decision is None or decision.schema_id != schema.id:
            continue
        after = value_taught(decision, key[1], outcomes.get(key, []), now=now)
        before = contributions.get(key)
        if after is None or after == before:
            continue
        changes.append(_Change(key, (decision.arm_id, key[1]), decision, before, after))
    return changes


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
                observed=[Observed(c.decision, c.after) for c in by_cell[cell] if c.before is None],
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
            evidence.extend(_evidence(position, sums, change, policy, forgetting))
    successive = folded([sums for _, sums, _, _ in usable], evidence)
    for (cell, _, watch, forgetting), sums in zip(usable, successive, strict=True):
        try:
            # At the scale of now: at the epoch's, weights and their rounding may be huge.
            current = decayed(sums, now, forgetting)
            precision_factor(current, prior_of(schema, cell[1]))
        except CorruptPosterior as error:
            faults[cell] = str(error)
            continue
        held = stored.get(cell)
        new = sum(change.before is None for change in by_cell[cell])
        successor = StoredSums(
            version=(held.version if held is not None else 0) + 1,
            observations=(held.observations if held is not None else 0) + new,
            sums=sums,
            alarms=watch.monitor.alarms,
        )
        successors[cell] = _Successor(successor, watch)
    return successors, faults


def _evidence(
    position: int, sums: Sums, change: _Change, policy: Policy, forgetting: Forgetting
) -> list[Evidence]:
    decision, head = change.decision, change.cell[1]
    weight = weight_of(decision.at, epoch=sums.epoch, forgetting=forgetting)

    def evidence(value: float, sign: float) -> Evidence:
        target = target_of(
            head,
            value,
            list_usd=decision.list_usd,
            quality_prior_mean=policy.settings.quality_prior_mean,
        )
        return Evidence(position, decision.context, target, sign * weight)

    taken_back = [] if change.before is None else [evidence(change.before, -1.0)]
    return [*taken_back, evidence(change.after, 1.0)]
