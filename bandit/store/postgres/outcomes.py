"""The append-only outcomes, and the line of what they make dirty."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg import errors as postgres
from psycopg import sql

from bandit.domain.decision import DecisionId, day_of
from bandit.domain.errors import InvalidInput
from bandit.domain.outcome import Disposition, OutcomeRow
from bandit.domain.policy import PolicyId
from bandit.routing.feedback import disposition_of
from bandit.routing.ports import NOTHING_HELD, Key
from bandit.store.postgres import schema
from bandit.store.postgres.group_commit import GroupCommit
from bandit.store.postgres.lane import HOT_STATEMENT_TIMEOUT_MS, Lane
from bandit.store.postgres.statements import column_list, columns_of, rows

_HEAD_KEY = list(schema.outcome.columns)[:4]
_LINE = schema.dirty_key.c
_HELD = (_LINE.policy_id, _LINE.decision_id, _LINE.head, _LINE.due_at)

_SEQUENCES = sql.SQL(
    """
    select outcome.policy_id, outcome.decision_id, outcome.head, outcome.source, outcome.sequence
    from {keys} join outcome
    on (outcome.policy_id, outcome.day, outcome.decision_id, outcome.head)
        = (key_policy_id, key_day, key_decision_id, key_head)
    where outcome.day = any(%b::date[])
    """
).format(keys=rows("key", _HEAD_KEY, prefix="key_"))

# One statement, so that exactly what was added is marked dirty.  The rows come sorted by key.
# It is due at once, whatever a learner's clock says: the router's may be ahead of it; or else when
# its window closes.
_APPEND = """
    with added as (
        insert into outcome ({columns}) select {columns} from {rows}
        on conflict do nothing
        returning policy_id, decision_id, head, source, sequence
    ), line as (
        insert into dirty_key (policy_id, decision_id, head, due_at, is_held)
        {line}
    )
    select policy_id, decision_id, head, source, sequence from added
    """


def _append_statement(line: sql.Composable) -> sql.Composed:
    return sql.SQL(_APPEND).format(
        columns=column_list(schema.outcome),
        rows=rows("new", list(schema.outcome.columns)),
        line=line,
    )


_APPEND_AT_ONCE = _append_statement(
    sql.SQL(
        """
        select policy_id, decision_id, head, '-infinity'::timestamptz, false
        from added group by policy_id, decision_id, head
        """
    )
)
_APPEND_AND_HOLD = _append_statement(
    sql.SQL(
        """
        select policy_id, decision_id, head, coalesce(held_due_at, '-infinity'),
               held_due_at is not null
        from added left join {held} on (policy_id, decision_id, head)
            = (held_policy_id, held_decision_id, held_head)
        group by policy_id, decision_id, head, held_due_at
        """
    ).format(held=rows("held", _HELD, prefix="held_"))
)

# policy, decision, head, source, and with the sequence the key of a row
_Thread = tuple[PolicyId, DecisionId, int, str]
_RowKey = tuple[PolicyId, DecisionId, int, str, int]


@dataclass(frozen=True, slots=True)
class _Append:
    policy_id: PolicyId
    rows: Sequence[OutcomeRow]
    held_until: Mapping[Key, datetime]
    dry_run: bool


class PostgresOutcomeLog:
    """
    Implements `routing.ports.OutcomeLog` on one connection that writes in groups.

    For one event loop; `close` when it ends.
    """

    def __init__(self, url: str, *, statement_timeout_ms: int = HOT_STATEMENT_TIMEOUT_MS) -> None:
        self._writes = GroupCommit(
            Lane(url, statement_timeout_ms=statement_timeout_ms),
            _append,
            rows_of=lambda call: len(call.rows),
        )

    async def append(
        self,
        policy_id: PolicyId,
        rows: Sequence[OutcomeRow],
        *,
        held_until: Mapping[Key, datetime] = NOTHING_HELD,
        dry_run: bool = False,
    ) -> Sequence[Disposition]:
        try:
            return await self._writes.answer(_Append(policy_id, rows, held_until, dry_run))
        except postgres.CheckViolation as error:
            raise InvalidInput("decision_id", "is of a day that is no longer kept") from error

    async def close(self) -> None:
        """Finish what is waiting and give the connection back."""
        await self._writes.close()


async def _append(lane: Lane, calls: Sequence[_Append]) -> Sequence[Sequence[Disposition]]:
    async with lane.transaction() as connection:
        return await _appended(connection, calls)


async def _appended(
    connection: psycopg.AsyncConnection, calls: Sequence[_Append]
) -> Sequence[Sequence[Disposition]]:
    held = await _sequences(connection, calls)
    new: dict[_RowKey, tuple[Any, ...]] = {}
    answers: list[list[Disposition]] = []
    for call in calls:
        threads = (
            held if not call.dry_run else defaultdict(list, {k: [*v] for k, v in held.items()})
        )
        dispositions = []
        for row in call.rows:
            thread = _thread(call.policy_id, row)
            disposition = disposition_of(row.sequence, threads[thread])
            dispositions.append(disposition)
            if disposition in (Disposition.ACCEPTED, Disposition.CORRECTED):
                threads[thread].append(row.sequence)
                if not call.dry_run:
                    new[*thread, row.sequence] = _values(call.policy_id, row)
        answers.append(dispositions)
    held_until = {
        (call.policy_id, id_, int(head)): due_at
        for call in calls
        for (id_, head), due_at in call.held_until.items()
    }
    lost = new.keys() - await _inserted(connection, new, held_until)
    if lost:
        _correct(answers, calls, lost)
    return answers


async def _sequences(
    connection: psycopg.AsyncConnection, calls: Sequence[_Append]
) -> defaultdict[_Thread, list[int]]:
    """The sequences that the log holds of every (decision, head, source) in the calls."""
    held: defaultdict[_Thread, list[int]] = defaultdict(list)
    keys = {
        (call.policy_id, day_of(row.decision_id), row.decision_id, int(row.objective))
        for call in calls
        for row in call.rows
    }
    if keys:
        days: list[date] = list({day for _, day, _, _ in keys})
        arrays = [*columns_of(list(keys), len(_HEAD_KEY)), days]
        cursor = await connection.execute(_SEQUENCES, arrays, binary=True)
        for policy_id, decision_id, head, source, sequence in await cursor.fetchall():
            held[policy_id, decision_id, head, source].append(sequence)
    return held


async def _inserted(
    connection: psycopg.AsyncConnection,
    new: dict[_RowKey, tuple[Any, ...]],
    held_until: Mapping[tuple[PolicyId, DecisionId, int], datetime],
) -> set[_RowKey]:
    if not new:
        return set()
    arrays = columns_of([new[key] for key in sorted(new)], len(schema.outcome.columns))
    if held_until:
        arrays += columns_of([(*key, due_at) for key, due_at in held_until.items()], len(_HELD))
    statement = _APPEND_AND_HOLD if held_until else _APPEND_AT_ONCE
    cursor = await connection.execute(statement, arrays, binary=True)
    return {
        (PolicyId(policy_id), DecisionId(decision_id), head, source, sequence)
        for policy_id, decision_id, head, source, sequence in await cursor.fetchall()
    }


def _correct(
    answers: list[list[Disposition]], calls: Sequence[_Append], lost: set[_RowKey]
) -> None:
    """Another writer was quicker with these rows: they are duplicates."""
    for call, dispositions in zip(calls, answers, strict=True):
        for position, row in enumerate(call.rows):
            if (*_thread(call.policy_id, row), row.sequence) in lost and not call.dry_run:
                dispositions[position] = Disposition.DUPLICATE


def _thread(policy_id: PolicyId, row: OutcomeRow) -> _Thread:
    return policy_id, row.decision_id, int(row.objective), row.source


def _values(policy_id: PolicyId, row: OutcomeRow) -> tuple[Any, ...]:
    """The values of `schema.outcome`'s columns, in their order."""
    return (
        policy_id,
        day_of(row.decision_id),
        row.decision_id,
        int(row.objective),
        row.source,
        row.sequence,
        float(row.value),
        row.received_at,
        row.observed_at,
    )
