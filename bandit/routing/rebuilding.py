"""
The learned state made anew from the log: compared with what is served, and put in its place.

The state is a fold of decisions, outcome rows and alarms, without the rows that exclusions cover.
A rebuild is that fold once more, perhaps with one more exclusion; a rollback is a rebuild with the
alarms and exclusions that a snapshot saw, without what was received since.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from bandit.domain.decision import Decision, DecisionId
from bandit.domain.errors import IncompleteLog, Unavailable
from bandit.domain.objective import HEADS, Objective
from bandit.domain.policy import Policy
from bandit.features.schema import FeatureSchema, schema_of
from bandit.learning.alarms import Alarm, Monitor
from bandit.learning.decay import Forgetting, rebased, weight_of
from bandit.learning.effective import value_taught
from bandit.learning.exclusion import counted
from bandit.learning.sums import Evidence, Sums, folded, no_outcomes
from bandit.routing.comparison import Compared, compared
from bandit.routing.evidence import evidence_of
from bandit.routing.history import REBUILD, ROLLBACK, SnapshotInfo
from bandit.routing.ledger import Settlement
from bandit.routing.log_fold import LogFold, RebuildStore
from bandit.routing.misfit import DECISION, OUTCOME, Damaged, Judge, Misfit, misfit_of
from bandit.routing.ports import Cell, Key, PolicyEvent, StoredSums
from bandit.routing.rebuild_rules import Asked, Rules, rules_for
from bandit.routing.settling import Known, settlements

PAGE = 1000  # decisions in memory at a time


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An alarm that the new state goes without."""

    arm: str
    objective: Objective
    at: datetime
    raised_at: datetime | None


@dataclass(frozen=True, slots=True, eq=False)
class Rebuilt:
    """
    What came of it.

    cells             the state that is served beside the one from the log
    against_snapshot  of a rollback: what the snapshot holds beside the one from the log
    snapshot          of a rollback: the one it went back to
    decisions         of the log, whether outcomes came or not
    values            (decision, objective) pairs that count
    changed           pairs whose value is another one than counted before, or none any more
    rows_left_out     outcome rows that exclusions cover
    misfits           what of the log could not be learned
    learned_version   None: nothing was promoted
    kept              id of the snapshot of the state before, if one was taken
    """

    cells: Sequence[Compared]
    against_snapshot: Sequence[Compared]
    snapshot: SnapshotInfo | None
    alarms_left_out: Sequence[LeftOut]
    decisions: int
    values: int
    changed: int
    rows_left_out: int
    misfits: Sequence[Misfit]
    learned_version: int | None = None
    kept: int | None = None


@dataclass(slots=True)
class _Tally:
    """The fold so far; the only thing here that changes."""

    sums: dict[Cell, Sums] = field(default_factory=dict)
    observations: dict[Cell, int] = field(default_factory=lambda: defaultdict(int))
    in_log: dict[Cell, int] = field(default_factory=lambda: defaultdict(int))
    latest: dict[Cell, datetime] = field(default_factory=dict)
    misfits: list[Misfit] = field(default_factory=list)
    moved: dict[tuple[int, str], Settlement] = field(default_factory=dict)
    ended: list[Settlement] = field(default_factory=list)
    decisions: int = 0
    values: int = 0
    changed: int = 0
    rows_left_out: int = 0

    def settle(self, settled: Iterable[Settlement]) -> None:
        """Sum up what only moves accounts, which may be as many as there are decisions."""
        for one in settled:
            if one.is_final:
                self.ended.append(one)
                continue
            held = self.moved.get((one.epoch, one.name))
            self.moved[one.epoch, one.name] = (
                one
                if held is None
                else replace(
                    held,
                    balance=held.balance + one.balance,
                    spent_usd=held.spent_usd + one.spent_usd,
                    returned_usd=held.returned_usd + one.returned_usd,
                )
            )


def rebuild(
    store: RebuildStore, policy: Policy, asked: Asked, *, now: datetime, who: str
) -> Rebuilt:
    """
    Fold the whole log of a policy, compare, and put the result in place if that is asked for.

    Raises InvalidInput, UnknownSnapshot, IncompleteLog if promoting would forget what the log no
    longer holds, and Unavailable while another one is at it; then nothing has changed.
    """
    schema = schema_of(policy.settings.context)
    with store.begin_rebuild(policy.id, is_promotion=asked.promote) as log:
        if log is None:
            raise Unavailable("another learner holds the policy")
        rules = rules_for(log, asked, schema, now)
        live = log.sums(schema.id, {(arm.id, head) for arm in policy.arms for head in HEADS})
        tally = _tally(log, policy, schema, rules, now, writes=asked.promote)
        lost = {
            cell: held.observations - tally.in_log[cell]
            for cell, held in live.items()
            if held.observations > tally.in_log[cell]
        }
        if asked.promote and lost and not asked.accept_loss:
            raise IncompleteLog(_by_name(policy, lost))
        state = _state(live, tally, schema, rules, now)
        left_out = _left_out(policy, log.alarms(), rules.alarms)
        result = Rebuilt(
            cells=compared(policy, live, state, lost=lost, now=now),
            against_snapshot=()
            if rules.kept is None
            else compared(policy, rules.kept.sums, state, lost={}, now=now),
            snapshot=None if rules.kept is None else rules.kept.info,
            alarms_left_out=left_out,
            decisions=tally.decisions,
            values=tally.values,
            changed=tally.changed,
            rows_left_out=tally.rows_left_out,
            misfits=tuple(tally.misfits),
        )
        if not asked.promote:
            return result
        kind = REBUILD if asked.snapshot_id is None else ROLLBACK
        kept = log.keep_snapshot(kind, at=now)
        log.write(schema_id=schema.id, sums=state, contributions={})
        log.drop_orphans()
        log.exclude(rules.new, beside=rules.beside, at=now)
        log.replace_alarms(rules.alarms)
        log.replace_monitors(
            {
                cell: Monitor(latest, policy.settings.drift.of(cell[1]))
                for cell, latest in tally.latest.items()
            }
        )
        log.replace_quarantine(tally.misfits, at=now)
        log.log(PolicyEvent(now, who, kind, _detail(asked, result, lost, kept)))
        version = log.advance()
        log.settle_costs([*tally.ended, *tally.moved.values()])
        return replace(result, learned_version=version, kept=kept)


def _tally(
    log: LogFold,
    policy: Policy,
    schema: FeatureSchema,
    rules: Rules,
    now: datetime,
    *,
    writes: bool,
) -> _Tally:
    """The fold of the log, page by page; with `writes` contributions follow at once."""
    tally, judge = _Tally(), Judge(policy, schema)
    after: DecisionId | None = None
    while page := log.page(after, limit=PAGE):
        after = page[-1]
        tally.decisions += len(page)
        keys = {(id_, head) for id_ in page for head in HEADS}
        outcomes, before = log.outcomes(keys), log.contributions(keys)
        touched = {key for key in keys if outcomes.get(key) or key in before}
        decisions = log.decisions({id_ for id_, _ in touched})
        counts: list[tuple[Key, Decision, float]] = []
        changed: dict[Key, float | None] = {}
        known: list[Known] = []
        for key in sorted(touched):
            id_, objective = key
            decision = decisions.get(id_)
            if decision is None:
                continue  # its partition went between two statements
            misfit = _misfit(judge, key, decision, is_learned=key in before, schema=schema)
            if misfit is not None:
                tally.misfits.append(misfit)
                if key in before:
                    changed[key] = None
                continue
            if isinstance(decision, Damaged) or decision.schema_id != schema.id:
                continue
            rows = counted(outcomes.get(key, []), rules.exclusions)
            tally.rows_left_out += len(outcomes.get(key, [])) - len(rows)
            value = value_taught(decision, objective, rows, now=now)
            fault = "" if value is None else judge.fault_in(decision, objective, value)
            if fault:
                tally.misfits.append(misfit_of(OUTCOME, id_, objective, fault))
                value = None
            if key in before:
                tally.in_log[decision.arm_id, objective] += 1
            if value is not None:
                counts.append((key, decision, value))
            if value != before.get(key):
                changed[key] = value
                if decision.charge is not None:
                    known.append(Known(decision, objective, before.get(key), value))
        _add(tally, policy, schema, rules, counts)
        tally.changed += len(changed)
        if writes and changed:
            log.write(schema_id=schema.id, sums={}, contributions=changed)
            held = log.reservations({one.decision.id for one in known}) if known else {}
            tally.settle(settlements(policy, known, held))
    return tally


def _misfit(
    judge: Judge,
    key: Key,
    decision: Decision | Damaged,
    *,
    is_learned: bool,
    schema: FeatureSchema,
) -> Misfit | None:
    """Why nothing of a decision can be learned; what other features taught stays as it is."""
    if isinstance(decision, Damaged):
        return misfit_of(DECISION, *key, decision.reason, decision.payload)
    if judge.is_early(decision):
        raise Unavailable("the policy has just changed", retry_after_s=0.1)
    fault = judge.fault_of(decision)
    if not fault or (is_learned and decision.schema_id != schema.id):
        return None
    return misfit_of(DECISION, *key, fault)


def _add(
    tally: _Tally,
    policy: Policy,
    schema: FeatureSchema,
    rules: Rules,
    counts: Sequence[tuple[Key, Decision, float]],
) -> None:
    by_cell: dict[Cell, list[tuple[Decision, float]]] = defaultdict(list)
    for key, decision, value in counts:
        by_cell[decision.arm_id, key[1]].append((decision, value))
    cells = sorted(by_cell)
    bases, evidence = [], list[Evidence]()
    for position, cell in enumerate(cells):
        latest = max(decision.at for decision, _ in by_cell[cell])
        latest = max(latest, tally.latest.get(cell, latest))
        forgetting = Forgetting(
            policy.settings.half_life_hours.get(cell[1]), rules.alarms.get(cell, ())
        )
        held = tally.sums.get(cell) or no_outcomes(schema.features, epoch=latest)
        base = rebased(held, latest, forgetting)
        bases.append(base)
        evidence.extend(
            evidence_of(
                position,
                decision,
                cell[1],
                value,
                weight_of(decision.at, epoch=base.epoch, forgetting=forgetting),
                policy,
            )
            for decision, value in by_cell[cell]
        )
        tally.latest[cell] = latest
        tally.observations[cell] += len(by_cell[cell])
    tally.sums.update(zip(cells, folded(bases, evidence), strict=True))
    tally.values += len(counts)


def _state(
    live: Mapping[Cell, StoredSums],
    tally: _Tally,
    schema: FeatureSchema,
    rules: Rules,
    now: datetime,
) -> dict[Cell, StoredSums]:
    """The successors of what is stored; a cell of which nothing is left goes on empty."""
    return {
        cell: StoredSums(
            version=(live[cell].version if cell in live else 0) + 1,
            observations=tally.observations[cell],
            sums=tally.sums.get(cell) or no_outcomes(schema.features, epoch=now),
            alarms=rules.alarms.get(cell, ()),
        )
        for cell in sorted({*live, *tally.sums})
    }


def _left_out(
    policy: Policy,
    before: Mapping[Cell, tuple[Alarm, ...]],
    after: Mapping[Cell, tuple[Alarm, ...]],
) -> list[LeftOut]:
    return [
        LeftOut(policy.arm(cell[0]).name, cell[1], alarm.at, alarm.raised_at)
        for cell, of_cell in sorted(before.items())
        for alarm in of_cell
        if alarm not in after.get(cell, ())
    ]


def _by_name(policy: Policy, lost: Mapping[Cell, int]) -> dict[str, int]:
    return {
        f"{arm.name}/{head.label}": lost[arm.id, head]
        for arm in policy.arms
        for head in HEADS
        if (arm.id, head) in lost
    }


def _detail(
    asked: Asked, result: Rebuilt, lost: Mapping[Cell, int], kept: int | None
) -> Mapping[str, Any]:
    """What people are told of a promotion."""
    return {
        "until": None if asked.until is None else asked.until.isoformat(),
        "without_sources": list(asked.without_sources),
        "to_snapshot": asked.snapshot_id,
        "snapshot_before": kept,
        "values": result.values,
        "changed": result.changed,
        "rows_left_out": result.rows_left_out,
        "lost": sum(lost.values()),
        "alarms_left_out": [
            {
                "arm": alarm.arm,
                "objective": alarm.objective.label,
                "decided_until": alarm.at.isoformat(),
                "raised_at": None if alarm.raised_at is None else alarm.raised_at.isoformat(),
            }
            for alarm in result.alarms_left_out
        ],
    }
