"""Between messages and the domain: snapshots, rebuilds and rollbacks."""

from collections.abc import Sequence

from bandit.domain.arm import checked_name
from bandit.domain.errors import InvalidInput
from bandit.domain.outcome import LONGEST_SOURCE
from bandit.routing.comparison import Compared, Side
from bandit.routing.history import SnapshotInfo
from bandit.routing.rebuild_rules import Asked
from bandit.routing.rebuilding import Rebuilt
from bandit.wire import learning_pb2 as pb
from services.router.translate_fields import moment, timestamp
from services.router.translate_settings import OBJECTIVES

MOST_SOURCES = 100
MOST_MISFITS = 100


def policy_name(request: pb.ListSnapshotsRequest) -> str:
    """The policy whose snapshots are asked for."""
    return checked_name("policy", request.policy)


def asked_to_rebuild(request: pb.RebuildRequest) -> tuple[str, Asked]:
    """The policy, and what to make of its log."""
    sources = tuple(request.without_sources)
    if len(sources) > MOST_SOURCES:
        raise InvalidInput("without_sources", f"at most {MOST_SOURCES}")
    for position, source in enumerate(sources):
        if not source or len(source) > LONGEST_SOURCE or not source.isprintable():
            raise InvalidInput(
                f"without_sources[{position}]",
                f"must be 1 to {LONGEST_SOURCE} printable characters",
            )
    asked = Asked(
        until=moment(request, "until"),
        without_sources=sources,
        promote=request.promote,
        accept_loss=request.accept_loss,
    )
    return checked_name("policy", request.policy), asked


def asked_to_roll_back(request: pb.RollbackRequest) -> tuple[str, Asked]:
    """The policy, and the snapshot to go back to."""
    if request.snapshot_id <= 0:
        raise InvalidInput("snapshot_id", "must be the id of a snapshot")
    asked = Asked(
        snapshot_id=request.snapshot_id,
        promote=not request.dry_run,
        accept_loss=request.accept_loss,
    )
    return checked_name("policy", request.policy), asked


def list_snapshots_response(snapshots: Sequence[SnapshotInfo]) -> pb.ListSnapshotsResponse:
    """The snapshots of a policy."""
    return pb.ListSnapshotsResponse(snapshots=map(_snapshot, snapshots))


def rebuild_response(policy: str, rebuilt: Rebuilt) -> pb.RebuildResponse:
    """What came of a rebuild."""
    return pb.RebuildResponse(report=_report(policy, rebuilt))


def rollback_response(policy: str, rebuilt: Rebuilt) -> pb.RollbackResponse:
    """What came of a rollback."""
    return pb.RollbackResponse(
        report=_report(policy, rebuilt),
        snapshot=None if rebuilt.snapshot is None else _snapshot(rebuilt.snapshot),
    )


def _snapshot(info: SnapshotInfo) -> pb.Snapshot:
    return pb.Snapshot(
        id=info.id,
        at=timestamp(info.at),
        reason=info.reason,
        learned_version=info.learned_version,
        pending_outcomes=info.pending,
        posteriors=info.posteriors,
        observations=info.observations,
    )


def _report(policy: str, rebuilt: Rebuilt) -> pb.RebuildReport:
    return pb.RebuildReport(
        policy=policy,
        learned_version=rebuilt.learned_version,
        snapshot_before=rebuilt.kept,
        heads=map(_head, rebuilt.cells),
        against_snapshot=map(_head, rebuilt.against_snapshot),
        alarms_left_out=[
            pb.AlarmLeftOut(
                arm=alarm.arm,
                objective=OBJECTIVES[alarm.objective],
                at=timestamp(alarm.at),
                raised_at=None if alarm.raised_at is None else timestamp(alarm.raised_at),
            )
            for alarm in rebuilt.alarms_left_out
        ],
        decisions=rebuilt.decisions,
        values=rebuilt.values,
        changed=rebuilt.changed,
        rows_left_out=rebuilt.rows_left_out,
        misfits=[
            pb.Misfit(kind=misfit.kind, key=misfit.key, reason=misfit.reason)
            for misfit in rebuilt.misfits[:MOST_MISFITS]
        ],
        misfit_count=len(rebuilt.misfits),
    )


def _head(compared: Compared) -> pb.RebuiltHead:
    return pb.RebuiltHead(
        arm=compared.arm,
        objective=OBJECTIVES[compared.objective],
        before=_side(compared.before),
        after=_side(compared.after),
        difference=compared.difference,
        scale=compared.scale,
        lost=compared.lost,
    )


def _side(side: Side) -> pb.RebuiltSide:
    return pb.RebuiltSide(
        observations=side.observations,
        weight=None if side.weight is None else max(side.weight, 0.0),
        mean=side.mean,
        fault=side.fault,
    )
