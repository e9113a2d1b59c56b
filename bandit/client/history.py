"""Learned states as they were, and made anew: what the service answers, as callers read it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bandit.client import requests
from bandit.domain.objective import Objective
from bandit.wire import learning_pb2

_OBJECTIVES = {number: objective for objective, number in requests.OBJECTIVES.items()}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """
    A learned state that is kept.

    reason             "scheduled", or the change before which it was taken
    learned_version    of which it is a copy
    pending_outcomes   stored and not yet learned then; a rollback counts them
    posteriors         arms and objectives of which it holds something
    observations       outcomes learned in it
    """

    id: int
    at: datetime
    reason: str
    learned_version: int
    pending_outcomes: int
    posteriors: int
    observations: int


@dataclass(frozen=True, slots=True)
class RebuiltSide:
    """
    One arm and objective in one of two states.

    weight, mean   None: the state cannot be used; of the mean also: the arm is removed
    fault          why it cannot be used; empty: it can
    """

    observations: int
    weight: float | None
    mean: float | None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class RebuiltHead:
    """
    What a rebuild makes of one arm and objective.

    difference   largest absolute difference of the sums; None: one side has none to use
    scale        largest absolute sum after, for the difference to be judged by
    lost         outcomes learned before that the log no longer holds
    """

    arm: str
    objective: Objective
    before: RebuiltSide
    after: RebuiltSide
    difference: float | None
    scale: float
    lost: int


@dataclass(frozen=True, slots=True)
class AlarmLeftOut:
    """An alarm that the rebuilt state goes without."""

    arm: str
    objective: Objective
    at: datetime
    raised_at: datetime | None


@dataclass(frozen=True, slots=True)
class Misfit:
    """What of the log could not be learned: a decision or an outcome."""

    kind: str
    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """
    What came of a rebuild or a rollback.

    learned_version    promoted; None: nothing was
    snapshot_before    of the state that gave way; None: none was taken
    heads              what is served beside what the log gives
    against_snapshot   of a rollback: what the snapshot holds beside what the log gives
    snapshot           of a rollback: the one gone back to
    decisions          in the log
    values             (decision, objective) pairs that count
    changed            pairs that count otherwise than before, or no longer
    rows_left_out      outcome rows that do not count
    misfits            at most 100 of `misfit_count`
    """

    policy: str
    learned_version: int | None
    snapshot_before: int | None
    heads: tuple[RebuiltHead, ...]
    against_snapshot: tuple[RebuiltHead, ...]
    snapshot: Snapshot | None
    alarms_left_out: tuple[AlarmLeftOut, ...]
    decisions: int
    values: int
    changed: int
    rows_left_out: int
    misfits: tuple[Misfit, ...]
    misfit_count: int


def snapshots(response: learning_pb2.ListSnapshotsResponse) -> list[Snapshot]:
    """The snapshots of a policy, newest first."""
    return [_snapshot(message) for message in response.snapshots]


def rebuilt(
    response: learning_pb2.RebuildResponse | learning_pb2.RollbackResponse,
) -> Rebuilt:
    """What came of a rebuild or a rollback."""
    report = response.report
    snapshot = (
        _snapshot(response.snapshot)
        if isinstance(response, learning_pb2.RollbackResponse)
        else None
    )
    return Rebuilt(
        policy=report.policy,
        learned_version=_present(report, "learned_version"),
        snapshot_before=_present(report, "snapshot_before"),
        heads=_heads(report.heads),
        against_snapshot=_heads(report.against_snapshot),
        snapshot=snapshot,
        alarms_left_out=tuple(
            AlarmLeftOut(
                alarm.arm,
                _OBJECTIVES[alarm.objective],
                alarm.at.ToDatetime(UTC),
                alarm.raised_at.ToDatetime(UTC) if alarm.HasField("raised_at") else None,
            )
            for alarm in report.alarms_left_out
        ),
        decisions=report.decisions,
        values=report.values,
        changed=report.changed,
        rows_left_out=report.rows_left_out,
        misfits=tuple(Misfit(each.kind, each.key, each.reason) for each in report.misfits),
        misfit_count=report.misfit_count,
    )


def _snapshot(message: learning_pb2.Snapshot) -> Snapshot:
    return Snapshot(
        id=message.id,
        at=message.at.ToDatetime(UTC),
        reason=message.reason,
        learned_version=message.learned_version,
        pending_outcomes=message.pending_outcomes,
        posteriors=message.posteriors,
        observations=message.observations,
    )


def _heads(messages: Sequence[learning_pb2.RebuiltHead]) -> tuple[RebuiltHead, ...]:
    return tuple(
        RebuiltHead(
            arm=head.arm,
            objective=_OBJECTIVES[head.objective],
            before=_side(head.before),
            after=_side(head.after),
            difference=_present(head, "difference"),
            scale=head.scale,
            lost=head.lost,
        )
        for head in messages
    )


def _side(message: learning_pb2.RebuiltSide) -> RebuiltSide:
    return RebuiltSide(
        observations=message.observations,
        weight=_present(message, "weight"),
        mean=_present(message, "mean"),
        fault=message.fault,
    )


def _present(message: Any, field: str) -> Any:
    return getattr(message, field) if message.HasField(field) else None
