"""The append-only outcomes, and the line of what they make dirty."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import errors as postgres
from psycopg import sql

from bandit.domain.decision import DecisionId, day_of
from bandit.domain.errors import InvalidInput
from bandit.domain.outcome import Disposition, OutcomeRow
from bandit.domain.policy import PolicyId
from bandit.routing.feedback import disposition_of
from bandit.routing.ports import NOTHING_HELD, Key
from bandit.store.postgres import schema
from bandit.store.postgres.arrays import array
from bandit.store.postgres.exchange import rows_of
from bandit.store.postgres.group_commit import GroupCommit
from bandit.store.postgres.lane import HOT_STATEMENT_TIMEOUT_MS, Lane
from bandit.store.postgres.statements import (
    Prepared,
    array_types,
    column_list,
    columns_of,
    prepared,
    rows,
    rows_as,
)

_LINE = schema.dirty_key.c
_HELD = (_LINE.policy_id, _LINE.decision_id, _LINE.head, _LINE.due_at)

# What the log holds of each (decision, head, source) of the rows, as it was before.  `offset 0` has
# each looked up by its key: joined, a day without statistics yet would be read from end to end.
_HELD_BEFORE = sql.SQL(
    """
    select found.* from new cross join lateral (
        select outcome.policy_id, outcome.decision_id, outcome.head, outcome.source,
               outcome.sequence
        from outcome
        where (outcome.policy_id, outcome.day, outcome.decision_id, outcome.head, outcome.source)
            = (new.policy_id, new.day, new.decision_id, new.head, new.source)
            and outcome.day = any(%b::date[])
        offset 0
    ) as found
    """
)
_ROWS = rows_as("new", list(schema.outcome.columns))
_SEQUENCES = prepared(sql.SQL("with {rows} {held}").format(rows=_ROWS, held=_HELD_BEFORE))

# One statement, so that exactly what was added is marked dirty, and that a row is added only if no
# later one was there before.  The rows come sorted by key.
# It is due at once, whatever a learner's clock says: the router's may be ahead of it; or else when
# its window closes.
_APPEND = """
    with {rows}, held as ({held}), added as (
        insert into outcome ({columns}) select {columns} from new
        where not exists (
            select from held
            where (held.policy_id, held.decision_id, held.head, held.source)
                = (new.policy_id, new.decision_id, new.head, new.source)
                and held.sequence > new.sequence
        )
        on conflict do nothing
        returning policy_id, decision_id, head, source, sequence
    ), line as (
        insert into dirty_key (policy_id, decision_id, head, due_at, is_held)
        {line}
    )
    select true, added.* from added union all select false, held.* from held
    """


def _append_statement(line: sql.Composable) -> Prepared:
    return prepared(
        sql.SQL(_APPEND).format(
            columns=column_list(schema.outcome),
            rows=_ROWS,
            held=_HELD_BEFORE,
            line=line,
        )
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
        select policy_id, decision_id, head, coalesce(until_due_at, '-infinity'),
               until_due_at is not null
        from added left join {until} on (policy_id, decision_id, head)
            = (until_policy_id, until_decision_id, until_head)
        group by policy_id, decision_id, head, until_due_at
        """
    ).format(until=rows("until", _HELD, prefix="until_"))
)
_TYPES, _HELD_TYPES = array_types(list(schema.outcome.columns)), array_types(_HELD)

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
    threads = [_thread(call.policy_id, row) for call in calls for row in call.rows]
    if len(set(threads)) == len(threads) and not any(call.dry_run for call in calls):
        return await _append_apart(lane, calls)
    return await _append_in_order(lane, calls)


async def _append_apart(lane: Lane, calls: Sequence[_Append]) -> Sequence[Sequence[Disposition]]:
    """Where no row depends on another one, one statement decides and appends."""
    new = {
        (*_thread(call.policy_id, row), row.sequence): _values(call.policy_id, row)
        for call in calls
        for row in call.rows
    }
    added, held = await _inserted(lane, new, _held_until(calls))
    answers = []
    for call in calls:
        dispositions = []
        for row in call.rows:
            thread = _thread(call.policy_id, row)
            sequences = held.get(thread, ())
            dispositions.append(
                disposition_of(row.sequence, sequences)
                if (*thread, row.sequence) in added
                else _disposition_of_lost(row.sequence, sequences)
            )
        answers.append(dispositions)
    return answers


async def _append_in_order(lane: Lane, calls: Sequence[_Append]) -> Sequence[Sequence[Disposition]]:
    """Each row sees those before it; of a dry run no other call sees any."""
    held = await _sequences(lane, calls)
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
    added, held_by_now = await _inserted(lane, new, _held_until(calls))
    if lost := new.keys() - added:
        _correct(answers, calls, lost, held_by_now)
    return answers


def _held_until(calls: Sequence[_Append]) -> dict[tuple[PolicyId, DecisionId, int], datetime]:
    return {
        (call.policy_id, id_, int(head)): due_at
        for call in calls
        for (id_, head), due_at in call.held_until.items()
    }


async def _sequences(lane: Lane, calls: Sequence[_Append]) -> defaultdict[_Thread, list[int]]:
    """The sequences that the log holds of every (decision, head, source) in the calls."""
    values = [_values(call.policy_id, row) for call in calls for row in call.rows]
    held: defaultdict[_Thread, list[int]] = defaultdict(list)
    if values:
        found = rows_of(await lane.committed(_SEQUENCES, _arrays(values)))
        for policy_id, decision_id, head, source, sequence in found:
            held[policy_id, decision_id, head, source].append(sequence)
    return held


async def _inserted(
    lane: Lane,
    new: Mapping[_RowKey, tuple[Any, ...]],
    held_until: Mapping[tuple[PolicyId, DecisionId, int], datetime],
) -> tuple[set[_RowKey], Mapping[_Thread, list[int]]]:
    """Which rows were added, and the sequences that were there before."""
    added: set[_RowKey] = set()
    held: defaultdict[_Thread, list[int]] = defaultdict(list)
    if not new:
        return added, held
    arrays = _arrays([new[key] for key in sorted(new)])
    statement = _APPEND_AT_ONCE
    if held_until:
        statement = _APPEND_AND_HOLD
        until = columns_of([(*key, due_at) for key, due_at in held_until.items()], len(_HELD))
        arrays += [array(type_, column) for type_, column in zip(_HELD_TYPES, until, strict=True)]
    for is_added, *thread, sequence in rows_of(await lane.committed(statement, arrays)):
        policy_id, decision_id, head, source = thread
        if is_added:
            added.add((policy_id, decision_id, head, source, sequence))
        else:
            held[policy_id, decision_id, head, source].append(sequence)
    return added, held


def _arrays(values: Sequence[tuple[Any, ...]]) -> list[bytes]:
    """The rows' columns, and the days that are among them."""
    columns = zip(*values, strict=True)
    arrays = [array(type_, column) for type_, column in zip(_TYPES, columns, strict=True)]
    return [*arrays, array("DATE", list({row[1] for row in values}))]


def _correct(
    answers: list[list[Disposition]],
    calls: Sequence[_Append],
    lost: set[_RowKey],
    held: Mapping[_Thread, list[int]],
) -> None:
    """Another writer was quicker, with these rows or with later ones of their threads."""
    for call, dispositions in zip(calls, answers, strict=True):
        for position, row in enumerate(call.rows):
            thread = _thread(call.policy_id, row)
            if (*thread, row.sequence) in lost and not call.dry_run:
                dispositions[position] = _disposition_of_lost(row.sequence, held.get(thread, ()))


def _disposition_of_lost(sequence: int, held: Collection[int]) -> Disposition:
    """Of a row that was not added: superseded by a later one, or else there already."""
    is_superseded = disposition_of(sequence, held) is Disposition.IGNORED
    return Disposition.IGNORED if is_superseded else Disposition.DUPLICATE


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
