"""The use case of a learner: fold what is due into the posteriors, once."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bandit.domain.decision import Decision, DecisionId
from bandit.domain.errors import CorruptPosterior
from bandit.domain.policy import Policy
from bandit.features.schema import FeatureSchema, schema_of
from bandit.learning.decay import as_of as decayed
from bandit.learning.decay import rebased, weight_of
from bandit.learning.effective import effective_value
from bandit.learning.posterior import precision_factor
from bandit.learning.prior import prior_of
from bandit.learning.sums import Evidence, Sums, folded, no_outcomes
from bandit.learning.targets import target_of
from bandit.routing.ports import Cell, Due, Fold, Key, LearningStore, StoredSums

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
    """

    settled: int = 0
    held: int = 0
    faults: Mapping[Cell, str] | None = None
    learned_version: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Change:
    """The contribution of one (decision, head), as it was and as it is to be."""

    key: Key
    cell: Cell
    decision: Decision
    before: float | None
    after: float


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
        due = fold.due(now=now, limit=limit)
        if not due:
            return Folded()
        return _fold(fold, policy, due, now)


def _fold(fold: Fold, policy: Policy, due: Sequence[Due], now: datetime) -> Folded:
    schema = schema_of(policy.settings.context)
    keys = {item.key for item in due}
    decisions = fold.decisions({decision_id for decision_id, _ in keys})
    changes = _changes(fold, keys, decisions, schema)
    cells = {change.cell for change in changes}
    stored = fold.sums(schema.id, cells)
    successors, faults = _successors(policy, schema, changes, stored, now)

    kept = [change for change in changes if change.cell not in faults]
    held_keys = {change.key for change in changes if change.cell in faults}
    held = [item.ticket for item in due if item.key in held_keys]
    settled = [item.ticket for item in due if item.key not in held_keys]
    version = None
    if kept:
        fold.write(
            schema_id=schema.id,
            sums=successors,
            contributions={change.key: change.after for change in kept},
        )
        version = fold.advance()
    fold.settle(settled)
    fold.postpone(held, until=now + HOLD)
    return Folded(len(settled), len(held), faults, version)


def _changes(
    fold: Fold,
    keys: set[Key],
    decisions: Mapping[DecisionId, Decision],
    schema: FeatureSchema,
) -> list[_Change]:
    """What differs between the log and the sums; the same order whatever the arrival."""
    outcomes = fold.outcomes(keys)
    contributions = fold.contributions(keys)
    changes = []
    for key in sorted(keys):
        decision = decisions.get(key[0])
        after = effective_value(outcomes.get(key, []))
        before = contributions.get(key)
        if decision is None or decision.schema_id != schema.id or after is None or after == before:
            continue
        changes.append(_Change(key, (decision.arm_id, key[1]), decision, before, after))
    return changes


def _successors(
    policy: Policy,
    schema: FeatureSchema,
    changes: list[_Change],
    stored: Mapping[Cell, StoredSums],
    now: datetime,
) -> tuple[dict[Cell, StoredSums], dict[Cell, str]]:
    """The new sums of every cell that can take its changes, and why the others cannot."""
    by_cell: dict[Cell, list[_Change]] = defaultdict(list)
    for change in changes:
        by_cell[change.cell].append(change)
    successors: dict[Cell, StoredSums] = {}
    faults: dict[Cell, str] = {}
    usable: list[tuple[Cell, Sums]] = []
    for cell in sorted(by_cell):
        held = stored.get(cell)
        if held is not None and held.sums is None:
            faults[cell] = held.fault
            continue
        latest = max(change.decision.at for change in by_cell[cell])
        sums = (
            held.sums
            if held is not None and held.sums is not None
            else no_outcomes(schema.features, epoch=latest)
        )
        half_life_hours = policy.settings.half_life_hours.get(cell[1])
        usable.append((cell, rebased(sums, latest, half_life_hours=half_life_hours)))

    evidence: list[Evidence] = []
    for position, (cell, sums) in enumerate(usable):
        for change in by_cell[cell]:
            evidence.extend(_evidence(position, sums, change, policy))
    for (cell, _), sums in zip(usable, folded([s for _, s in usable], evidence), strict=True):
        half_life_hours = policy.settings.half_life_hours.get(cell[1])
        try:
            # At the scale of now: at the epoch's, weights and their rounding may be huge.
            current = decayed(sums, now, half_life_hours=half_life_hours)
            precision_factor(current, prior_of(schema, cell[1]))
        except CorruptPosterior as error:
            faults[cell] = str(error)
            continue
        held = stored.get(cell)
        new = sum(change.before is None for change in by_cell[cell])
        successors[cell] = StoredSums(
            version=(held.version if held is not None else 0) + 1,
            observations=(held.observations if held is not None else 0) + new,
            sums=sums,
        )
    return successors, faults


def _evidence(position: int, sums: Sums, change: _Change, policy: Policy) -> list[Evidence]:
    decision, head = change.decision, change.cell[1]
    weight = weight_of(
        decision.at,
        epoch=sums.epoch,
        half_life_hours=policy.settings.half_life_hours.get(head),
    )

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
