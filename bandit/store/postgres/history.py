"""The learned state as it was: copies made by the database itself, and read back."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, select, text

from bandit.domain.arm import ArmId
from bandit.domain.errors import UnknownSnapshot
from bandit.domain.objective import Objective
from bandit.domain.policy import PolicyId
from bandit.learning.alarms import Alarm
from bandit.routing.history import (
    KEPT_FOR,
    KEPT_SCHEDULED,
    SCHEDULED,
    KeptState,
    SnapshotInfo,
)
from bandit.routing.ports import Cell
from bandit.store.postgres import schema
from bandit.store.postgres.codecs import utc
from bandit.store.postgres.engine import transaction
from bandit.store.postgres.posteriors import stored_sums_from

# One statement, so of one moment even beside a learner at work: what it has committed, whole.
_KEEP = text(
    """
    with made as (
        insert into posterior_snapshot
            (policy_id, at, reason, learned_version, pending, alarms, exclusions)
        select policy.id, :at, :reason, policy.learned_version,
            (select count(*) from (
                select decision_id, head from dirty_key
                where policy_id = :policy_id and due_at <= :at
                union
                select decision_id, head from dirty_key
                where policy_id = :policy_id and not is_held and due_at > '-infinity') as line),
            (select coalesce(jsonb_agg(jsonb_build_object(
                'arm', arm_id, 'head', head, 'at', at, 'weight', weight,
                'fading_hours', fading_hours, 'raised_at', raised_at) order by at), '[]')
             from alarm where policy_id = :policy_id),
            (select coalesce(jsonb_agg(id order by id), '[]')
             from exclusion where policy_id = :policy_id and lifted_at is null)
        from policy where id = :policy_id and learned_version > 0
        returning id
    ), copied as (
        insert into posterior_history
            (policy_id, snapshot_id, schema_id, arm_id, head, version, epoch, observations,
             weight, sums)
        select :policy_id, made.id, schema_id, arm_id, head, version, epoch, observations,
            weight, sums
        from made, posterior where policy_id = :policy_id
    )
    select id from made
    """
)
_IS_TIME = text(
    """
    select coalesce(newest.at <= :until and newest.learned_version < policy.learned_version,
                    policy.learned_version > 0)
    from policy left join lateral (
        select at, learned_version from posterior_snapshot
        where policy_id = :policy_id order by id desc limit 1
    ) as newest on true
    where policy.id = :policy_id
    """
)
_DROP = text(
    """
    delete from posterior_snapshot where policy_id = :policy_id and id in (
        (select id from posterior_snapshot
         where policy_id = :policy_id and reason = :scheduled order by id desc offset :most)
        union all
        (select id from posterior_snapshot
         where policy_id = :policy_id and reason <> :scheduled and at < :earliest)
    )
    """
)
_INFO = """
    select s.id, s.at, s.reason, s.learned_version, s.pending, count(h.arm_id) as posteriors,
        cast(coalesce(sum(h.observations), 0) as bigint) as observations
    from posterior_snapshot s left join posterior_history h
        on (h.policy_id, h.snapshot_id) = (s.policy_id, s.id)
    where s.policy_id = :policy_id {among}
    group by s.policy_id, s.id order by s.id desc
"""
_INFOS = text(_INFO.format(among=""))
_INFO_OF = text(_INFO.format(among="and s.id = :snapshot_id"))


class PostgresHistory:
    """Implements `routing.history.History`; each method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def snapshots(self, policy_id: PolicyId) -> Sequence[SnapshotInfo]:
        with transaction(self._engine) as connection:
            rows = connection.execute(_INFOS, {"policy_id": policy_id}).all()
        return [_info_from(row) for row in rows]

    def keep_scheduled(self, policy_id: PolicyId, *, now: datetime, every: timedelta) -> int | None:
        values = {"policy_id": policy_id, "until": now - every}
        with transaction(self._engine) as connection:
            if not connection.execute(_IS_TIME, values).scalar():
                return None
            # Of several learners one takes it; whoever comes second looks again.
            is_ours = connection.execute(
                text("select pg_try_advisory_xact_lock(:lock)"), {"lock": _lock_of(policy_id)}
            ).scalar_one()
            if not is_ours or not connection.execute(_IS_TIME, values).scalar():
                return None
            kept = keep_snapshot(connection, policy_id, SCHEDULED, at=now)
            connection.execute(
                _DROP,
                {
                    "policy_id": policy_id,
                    "scheduled": SCHEDULED,
                    "most": KEPT_SCHEDULED,
                    "earliest": now - KEPT_FOR,
                },
            )
        return kept


def keep_snapshot(
    connection: Connection, policy_id: PolicyId, reason: str, *, at: datetime
) -> int | None:
    """Copy what is stored of a policy; the id of the copy, None if nothing was ever learned."""
    kept: int | None = connection.execute(
        _KEEP, {"policy_id": policy_id, "reason": reason, "at": at}
    ).scalar()
    return kept


def kept_state(
    connection: Connection, policy_id: PolicyId, snapshot_id: int, schema_id: str
) -> KeptState:
    """What a snapshot holds of one feature schema; `UnknownSnapshot`."""
    key = {"policy_id": policy_id, "snapshot_id": snapshot_id}
    info = connection.execute(_INFO_OF, key).one_or_none()
    if info is None:
        raise UnknownSnapshot(snapshot_id)
    snapshot, history = schema.posterior_snapshot.c, schema.posterior_history.c
    alarms_kept, exclusions = connection.execute(
        select(snapshot.alarms, snapshot.exclusions).where(
            snapshot.policy_id == policy_id, snapshot.id == snapshot_id
        )
    ).one()
    alarms = _alarms_from(alarms_kept)
    rows = connection.execute(
        select(
            history.arm_id,
            history.head,
            history.version,
            history.observations,
            history.epoch,
            history.sums,
        ).where(
            history.policy_id == policy_id,
            history.snapshot_id == snapshot_id,
            history.schema_id == schema_id,
        )
    ).all()
    sums = dict(stored_sums_from(row, alarms) for row in rows)
    return KeptState(_info_from(info), sums, alarms, frozenset(exclusions))


def _alarms_from(kept: Sequence[Mapping[str, Any]]) -> dict[Cell, tuple[Alarm, ...]]:
    alarms: dict[Cell, tuple[Alarm, ...]] = {}
    for one in kept:
        cell = (ArmId(UUID(one["arm"])), Objective(one["head"]))
        raised_at = one["raised_at"]
        alarm = Alarm(
            at=utc(datetime.fromisoformat(one["at"])),
            weight=float(one["weight"]),
            fading_hours=None if one["fading_hours"] is None else float(one["fading_hours"]),
            raised_at=None if raised_at is None else utc(datetime.fromisoformat(raised_at)),
        )
        alarms[cell] = (*alarms.get(cell, ()), alarm)
    return alarms


def _info_from(row: Any) -> SnapshotInfo:
    return SnapshotInfo(
        id=row.id,
        at=utc(row.at),
        reason=row.reason,
        learned_version=row.learned_version,
        pending=row.pending,
        posteriors=row.posteriors,
        observations=row.observations,
    )


def _lock_of(policy_id: PolicyId) -> int:
    digest = hashlib.blake2b(policy_id.bytes, digest_size=8, person=b"history").digest()
    return int.from_bytes(digest, "little", signed=True)
