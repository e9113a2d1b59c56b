"""Where learners take work and leave posteriors."""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Date,
    Engine,
    Row,
    Uuid,
    any_,
    delete,
    exists,
    literal,
    or_,
    select,
    text,
    update,
)

from bandit.domain.decision import Decision, DecisionId, day_of
from bandit.domain.errors import BanditError, Conflict
from bandit.domain.objective import Objective
from bandit.domain.outcome import OutcomeRow
from bandit.domain.policy import PolicyId
from bandit.learning.alarms import Alarm, Monitor
from bandit.learning.exclusion import Exclusion
from bandit.routing.ledger import Reservation, Settlement
from bandit.routing.misfit import OUTCOME, Damaged, Misfit
from bandit.routing.ports import Cell, Due, Fold, Key, PolicyEvent, StoredSums
from bandit.store.postgres import ledger, schema
from bandit.store.postgres.catalog import log_event, notify
from bandit.store.postgres.codecs import decision_from, sums_bytes, utc
from bandit.store.postgres.engine import transaction
from bandit.store.postgres.exceptions import exclusions_of, set_aside
from bandit.store.postgres.posteriors import stored_sums_from
from bandit.store.postgres.watching import alarms_of, keep_monitors, log_alarm, monitors_in

LEARNER_STATEMENT_TIMEOUT_MS = 30_000
HOLD_TIMEOUT_MS = 1200

_POSTERIORS = """
    unnest(cast(:arms as uuid[]), cast(:heads as smallint[]), cast(:versions as bigint[]),
           cast(:epochs as timestamptz[]), cast(:observations as bigint[]),
           cast(:weights as float8[]), cast(:sums as bytea[]),
           cast(:alarms as bigint[]), cast(:alarm_times as timestamptz[]))
    as new (arm_id, head, version, epoch, observations, weight, sums, alarms, alarmed_at)
"""
_FIRST_POSTERIORS = text(
    f"""
    insert into posterior (policy_id, schema_id, arm_id, head,
                           version, epoch, observations, weight, sums, alarms, alarmed_at)
    select :policy_id, :schema_id, new.* from {_POSTERIORS}
    on conflict do nothing
    returning 1
    """  # noqa: S608 - a constant of this file
)
_NEXT_POSTERIORS = text(
    f"""
    update posterior set version = new.version, epoch = new.epoch,
        observations = new.observations, weight = new.weight, sums = new.sums,
        alarms = new.alarms, alarmed_at = new.alarmed_at
    from {_POSTERIORS}
    where posterior.policy_id = :policy_id and posterior.schema_id = :schema_id
        and posterior.arm_id = new.arm_id and posterior.head = new.head
        and posterior.version = new.version - 1
    returning 1
    """  # noqa: S608 - a constant of this file
)
_CONTRIBUTIONS = text(
    """
    insert into contribution (policy_id, day, decision_id, head, value)
    select :policy_id, new.* from
        unnest(cast(:days as date[]), cast(:ids as uuid[]), cast(:heads as smallint[]),
               cast(:values as float8[])) as new (day, decision_id, head, value)
    on conflict (policy_id, day, decision_id, head) do update set value = excluded.value
    """
)
_NO_CONTRIBUTIONS = text(
    """
    delete from contribution using
        unnest(cast(:days as date[]), cast(:ids as uuid[]), cast(:heads as smallint[]))
        as gone (day, decision_id, head)
    where (contribution.policy_id, contribution.day, contribution.decision_id, contribution.head)
        = (:policy_id, gone.day, gone.decision_id, gone.head)
    """
)
_HEADS = frozenset(int(objective) for objective in Objective)


class PostgresLearning:
    """
    Implements `routing.ports.LearningStore`.

    hold_timeout_ms   a holder that does nothing for so long loses the policy's lock
    """

    def __init__(self, engine: Engine, *, hold_timeout_ms: int = HOLD_TIMEOUT_MS) -> None:
        self._engine = engine
        self._hold_timeout_ms = hold_timeout_ms

    def policies_with_due(self, *, now: datetime) -> Sequence[PolicyId]:
        line = schema.dirty_key.c
        has_due = exists().where(line.policy_id == schema.policy.c.id, line.due_at <= now)
        held = schema.reservation.c
        has_lapsed = exists().where(held.policy_id == schema.policy.c.id, held.expires_at <= now)
        query = select(schema.policy.c.id).where(or_(has_due, has_lapsed))
        with transaction(self._engine) as connection:
            ids = connection.execute(query).scalars().all()
        return [PolicyId(id_) for id_ in ids]

    @contextmanager
    def begin(self, policy_id: PolicyId) -> Iterator[Fold | None]:
        with transaction(
            self._engine,
            statement_timeout_ms=LEARNER_STATEMENT_TIMEOUT_MS,
            idle_timeout_ms=self._hold_timeout_ms,
        ) as connection:
            # Held to the end of the transaction: a session's lock breaks behind a pooler.
            is_ours = connection.execute(
                text("select pg_try_advisory_xact_lock(:lock)"), {"lock": lock_of(policy_id)}
            ).scalar_one()
            yield PostgresFold(connection, policy_id) if is_ours else None


class PostgresFold:
    """Implements `Fold`.  The caller owns the transaction, READ COMMITTED."""

    def __init__(self, connection: Connection, policy_id: PolicyId) -> None:
        self._connection = connection
        self._policy_id = policy_id

    def due(self, *, now: datetime, limit: int) -> Sequence[Due]:
        line = schema.dirty_key.c
        query = (
            select(line.ticket, line.decision_id, line.head)
            .where(line.policy_id == self._policy_id, line.due_at <= now)
            .order_by(line.due_at, line.ticket)
            .limit(limit)
        )
        return [
            Due(ticket, (DecisionId(decision_id), Objective(head)))
            if head in _HEADS
            else Due(ticket, None, _of_no_head(decision_id, head))
            for ticket, decision_id, head in self._connection.execute(query)
        ]

    def decisions(self, ids: Collection[DecisionId]) -> dict[DecisionId, Decision | Damaged]:
        columns = schema.decision.c
        query = select(schema.decision).where(
            columns.policy_id == self._policy_id, *_is_among(columns.day, columns.id, ids)
        )
        found = [_decoded(row) for row in self._connection.execute(query)]
        return {decision.id: decision for decision in found}

    def exclusions(self) -> Sequence[Exclusion]:
        return [exclusion for _, exclusion in exclusions_of(self._connection, self._policy_id)]

    def outcomes(self, keys: Collection[Key]) -> dict[Key, list[OutcomeRow]]:
        """Without `observed_at`, which learning does not use."""
        columns = schema.outcome.c
        query = select(
            columns.decision_id,
            columns.head,
            columns.source,
            columns.sequence,
            columns.value,
            columns.received_at,
        ).where(
            columns.policy_id == self._policy_id,
            *_is_among(columns.day, columns.decision_id, {id_ for id_, _ in keys}),
        )
        found: dict[Key, list[OutcomeRow]] = {key: [] for key in keys}
        for row in self._connection.execute(query):
            if row.head not in _HEADS:
                continue
            outcome = OutcomeRow(
                decision_id=DecisionId(row.decision_id),
                objective=Objective(row.head),
                source=row.source,
                sequence=row.sequence,
                value=row.value,
                received_at=utc(row.received_at),
            )
            key = (outcome.decision_id, outcome.objective)
            if key in found:
                found[key].append(outcome)
        return found

    def contributions(self, keys: Collection[Key]) -> dict[Key, float]:
        columns = schema.contribution.c
        query = select(columns.decision_id, columns.head, columns.value).where(
            columns.policy_id == self._policy_id,
            *_is_among(columns.day, columns.decision_id, {id_ for id_, _ in keys}),
        )
        held = {
            (DecisionId(decision_id), Objective(head)): value
            for decision_id, head, value in self._connection.execute(query)
            if head in _HEADS
        }
        return {key: held[key] for key in keys if key in held}

    def sums(self, schema_id: str, cells: Collection[Cell]) -> dict[Cell, StoredSums]:
        columns = schema.posterior.c
        query = select(
            columns.arm_id,
            columns.head,
            columns.version,
            columns.observations,
            columns.epoch,
            columns.sums,
        ).where(
            columns.policy_id == self._policy_id,
            columns.schema_id == schema_id,
            columns.arm_id == any_(literal(list({arm for arm, _ in cells}), ARRAY(Uuid))),
        )
        rows = self._connection.execute(query).all()
        alarms = alarms_of(self._connection, self._policy_id) if rows else {}
        held = dict(stored_sums_from(row, alarms) for row in rows)
        return {cell: held[cell] for cell in cells if cell in held}

    def write(
        self,
        *,
        schema_id: str,
        sums: Mapping[Cell, StoredSums],
        contributions: Mapping[Key, float | None],
    ) -> None:
        first = {cell: stored for cell, stored in sums.items() if stored.version == 1}
        later = {cell: stored for cell, stored in sums.items() if stored.version != 1}
        for statement, successors in ((_FIRST_POSTERIORS, first), (_NEXT_POSTERIORS, later)):
            if successors:
                written = self._connection.execute(
                    statement, self._posterior_columns(schema_id, successors)
                )
                if len(written.all()) != len(successors):
                    raise Conflict("another writer was first to some of the sums")
        kept = {key: value for key, value in contributions.items() if value is not None}
        if kept:
            columns = _key_columns(self._policy_id, sorted(kept))
            columns["values"] = [float(kept[key]) for key in sorted(kept)]
            self._connection.execute(_CONTRIBUTIONS, columns)
        if len(kept) < len(contributions):
            gone = _key_columns(self._policy_id, sorted(contributions.keys() - kept.keys()))
            self._connection.execute(_NO_CONTRIBUTIONS, gone)

    def quarantine(self, misfits: Collection[Misfit], *, at: datetime) -> None:
        set_aside(self._connection, self._policy_id, misfits, at=at)

    def monitors(self, cells: Collection[Cell]) -> dict[Cell, Monitor]:
        return monitors_in(self._connection, self._policy_id, cells)

    def watch(self, monitors: Mapping[Cell, Monitor]) -> None:
        keep_monitors(self._connection, self._policy_id, monitors)

    def raise_alarm(self, cell: Cell, alarm: Alarm, event: PolicyEvent) -> None:
        log_alarm(self._connection, self._policy_id, cell, replace(alarm, raised_at=event.at))
        log_event(self._connection, self._policy_id, event)

    def settle(self, tickets: Collection[int]) -> None:
        if tickets:
            self._connection.execute(delete(schema.dirty_key).where(*self._are(tickets)))

    def postpone(self, tickets: Collection[int], *, until: datetime) -> None:
        if tickets:
            self._connection.execute(
                update(schema.dirty_key)
                .where(*self._are(tickets))
                .values(due_at=until, is_held=False)
            )

    def reservations(self, ids: Collection[DecisionId]) -> dict[DecisionId, Reservation]:
        columns = schema.reservation.c
        query = select(schema.reservation).where(
            columns.policy_id == self._policy_id,
            columns.decision_id == any_(literal(list(ids), ARRAY(Uuid))),
        )
        return {
            reservation.decision_id: reservation
            for reservation in map(_reservation_from, self._connection.execute(query))
        }

    def expired_reservations(self, *, now: datetime, limit: int) -> Sequence[Reservation]:
        columns = schema.reservation.c
        query = (
            select(schema.reservation)
            .where(columns.policy_id == self._policy_id, columns.expires_at <= now)
            .order_by(columns.expires_at)
            .limit(limit)
        )
        return [_reservation_from(row) for row in self._connection.execute(query)]

    def settle_costs(self, settlements: Sequence[Settlement]) -> None:
        if not settlements:
            return
        ledger.settle(self._connection, self._policy_id, settlements)
        ended = [one.decision_id for one in settlements if one.is_final]
        if ended:
            columns = schema.reservation.c
            self._connection.execute(
                delete(schema.reservation).where(
                    columns.policy_id == self._policy_id,
                    columns.decision_id == any_(literal(ended, ARRAY(Uuid))),
                )
            )

    def advance(self) -> int:
        version = self._connection.execute(
            update(schema.policy)
            .where(schema.policy.c.id == self._policy_id)
            .values(learned_version=schema.policy.c.learned_version + 1)
            .returning(schema.policy.c.learned_version)
        ).scalar_one()
        notify(self._connection, self._policy_id)
        return int(version)

    def _are(self, tickets: Collection[int]) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        line = schema.dirty_key.c
        wanted = literal(list(tickets), ARRAY(line.ticket.type))
        return line.policy_id == self._policy_id, line.ticket == any_(wanted)

    def _posterior_columns(
        self, schema_id: str, successors: Mapping[Cell, StoredSums]
    ) -> dict[str, Any]:
        columns: dict[str, Any] = {"policy_id": self._policy_id, "schema_id": schema_id} | {
            name: []
            for name in ("arms", "heads", "versions", "epochs", "observations", "weights", "sums")
        }
        columns |= {"alarms": [], "alarm_times": []}
        for (arm_id, head), stored in sorted(successors.items(), key=lambda item: item[0]):
            if stored.sums is None:
                raise ValueError("sums that cannot be decoded have no successor")
            columns["arms"].append(arm_id)
            columns["heads"].append(int(head))
            columns["versions"].append(stored.version)
            columns["epochs"].append(stored.sums.epoch)
            columns["observations"].append(stored.observations)
            columns["weights"].append(stored.sums.weight)
            columns["sums"].append(sums_bytes(stored.sums))
            columns["alarms"].append(len(stored.alarms))
            columns["alarm_times"].append(stored.alarms[-1].at if stored.alarms else None)
        return columns


def _decoded(row: Row[Any]) -> Decision | Damaged:
    try:
        return decision_from(row)
    except (ValueError, TypeError, BanditError) as error:
        part = "context" if len(row.context) % np.dtype(np.float32).itemsize else "candidates"
        reason = f"its {part} cannot be decoded: {error}"
        return Damaged(DecisionId(row.id), reason, bytes(getattr(row, part)))


def _of_no_head(decision_id: UUID, head: int) -> Misfit:
    return Misfit(OUTCOME, f"{decision_id}/{head}", "there is no such objective")


def _key_columns(policy_id: PolicyId, keys: Sequence[Key]) -> dict[str, Any]:
    return {
        "policy_id": policy_id,
        "days": [day_of(id_) for id_, _ in keys],
        "ids": [id_ for id_, _ in keys],
        "heads": [int(head) for _, head in keys],
    }


def _reservation_from(row: Any) -> Reservation:
    return Reservation(
        decision_id=DecisionId(row.decision_id),
        epoch=row.epoch,
        name=row.name,
        reserved_usd=row.reserved_usd,
        expected_usd=row.expected_usd,
    )


def _is_among(
    day: ColumnElement[Any], id_: ColumnElement[Any], ids: Collection[DecisionId]
) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """The decision is one of `ids`; the days only spare looking into other partitions."""
    days = literal(list({day_of(decision_id) for decision_id in ids}), ARRAY(Date))
    return day == any_(days), id_ == any_(literal(list(ids), ARRAY(Uuid)))


def lock_of(policy_id: PolicyId) -> int:
    """The number of a policy's advisory lock, of 64 bits."""
    digest = hashlib.blake2b(policy_id.bytes, digest_size=8, person=b"learner").digest()
    return int.from_bytes(digest, "little", signed=True)
