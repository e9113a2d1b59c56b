"""The recorded decisions, on the hot path."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from psycopg import sql
from psycopg.pq.abc import PGresult

from bandit.domain.decision import Decision, DecisionId, Recorded, day_of
from bandit.domain.errors import InvalidInput
from bandit.domain.policy import PolicyId
from bandit.routing.ledger import SETTLE_AFTER
from bandit.store.postgres import schema
from bandit.store.postgres.arrays import array
from bandit.store.postgres.codecs import decision_from, decision_row
from bandit.store.postgres.deadlines import LINE_TYPES, falling_due, queue_for
from bandit.store.postgres.exchange import rows_of
from bandit.store.postgres.group_commit import GroupCommit
from bandit.store.postgres.lane import HOT_STATEMENT_TIMEOUT_MS, Lane
from bandit.store.postgres.statements import array_types, column_list, columns_of, prepared, rows

_KEY = (schema.decision.c.policy_id, schema.decision.c.day, schema.decision.c.id)

# A day without a partition would fail the whole group: its rows are left out, and not found below.
# The rows come sorted by key, so that two groups wait for each other in one direction only.
# What a decision may cost is held of its limit, and what falls due by itself put in line, in the
# same statement: never one without the other.
_INSERT = """
    with stored as (
        insert into decision ({columns})
        select {columns} from {rows}
        where day = any (array(
            select of from unnest(%b::date[]) as days (of)
            where to_regclass('decision_p' || to_char(of, 'YYYYMMDD')) is not null
        ))
        on conflict do nothing
        returning policy_id, id, at, budget_epoch, budget_limit_name, budget_reserved_usd,
                  budget_expected_usd
    ), held as (
        insert into reservation
            (policy_id, decision_id, epoch, name, reserved_usd, expected_usd, expires_at)
        select policy_id, id, budget_epoch, budget_limit_name, budget_reserved_usd,
               budget_expected_usd, at + {settle_after}::interval
        from stored where budget_reserved_usd is not null and budget_limit_name is not null
    ){line}
    select policy_id, id from stored
    """


def _insert(*, line: sql.Composable) -> sql.Composed:
    return sql.SQL(_INSERT).format(
        columns=column_list(schema.decision),
        rows=rows("new", list(schema.decision.columns)),
        settle_after=sql.Literal(f"{SETTLE_AFTER.total_seconds():.0f} seconds"),
        line=line,
    )


# The line costs a tenth of a group of 64 even where nothing falls due: then it is left out.
_INSERT_ALONE = prepared(_insert(line=sql.SQL("")), name="decisions")
_INSERT_WITH_LINE = prepared(
    _insert(line=sql.SQL(", line as ({})").format(queue_for("stored"))),
    name="decisions with line",
)
_TYPES, _KEY_TYPES = array_types(list(schema.decision.columns)), array_types(_KEY)

# `days` repeats what the keys say, for the planner: partitions of other days are not looked at.
# `offset 0` has each key looked up: joined, a day without statistics would be read from end to end.
_FIND = prepared(
    sql.SQL(
        """
        select found.* from {keys} cross join lateral (
            select {columns} from decision
            where (decision.policy_id, decision.day, decision.id)
                = (key_policy_id, key_day, key_id)
                and decision.day = any(%b::date[])
            offset 0
        ) as found
        """
    ).format(
        columns=column_list(schema.decision, "decision"), keys=rows("key", _KEY, prefix="key_")
    )
)

_Key = tuple[int, int]  # policy and id, which sort and compare as numbers several times as fast
_Search = tuple[PolicyId, Collection[DecisionId]]


class PostgresDecisionLog:
    """
    Implements `routing.ports.DecisionLog` on two connections: one writes in groups, one reads.

    For one event loop; `close` when it ends.
    """

    def __init__(self, url: str, *, statement_timeout_ms: int = HOT_STATEMENT_TIMEOUT_MS) -> None:
        self._writes = GroupCommit(Lane(url, statement_timeout_ms=statement_timeout_ms), _record)
        self._reads = GroupCommit(
            Lane(url, statement_timeout_ms=statement_timeout_ms),
            _find,
            rows_of=lambda search: len(search[1]),
        )

    async def record(self, decisions: Sequence[Decision]) -> Sequence[Recorded | Exception]:
        return await self._writes.answers(decisions)

    async def find(
        self, policy_id: PolicyId, ids: Collection[DecisionId]
    ) -> dict[DecisionId, Decision]:
        return await self._reads.answer((policy_id, ids))

    async def close(self) -> None:
        """Finish what is waiting and give the connections back."""
        await asyncio.gather(self._writes.close(), self._reads.close())


async def _record(lane: Lane, decisions: Sequence[Decision]) -> Sequence[Recorded | Exception]:
    firsts: dict[_Key, Decision] = {}
    for decision in decisions:
        firsts.setdefault(_key(decision), decision)
    new = {key: decision_row(firsts[key]) for key in sorted(firsts) if _is_dated(firsts[key].id)}
    written: Collection[_Key] = ()
    stored: dict[_Key, Decision] = {}
    if new:
        written = await _written(lane, new, falling_due(firsts.values()))
        if len(written) == len(decisions):
            return [Recorded(decision) for decision in decisions]
        repeated = [firsts[key] for key in new if key not in written]
        if repeated:  # they were committed before, or are of a day without a partition
            wanted = [(decision.policy_id, decision.id) for decision in repeated]
            stored = await _stored(lane, wanted)

    answers: list[Recorded | Exception] = []
    for decision in decisions:
        key = _key(decision)
        if key in written:
            first = firsts[key]
            answers.append(Recorded(first, replayed=first is not decision))
        elif key in stored:
            answers.append(Recorded(stored[key], replayed=True))
        else:
            answers.append(InvalidInput("decision_id", "is a UUIDv7 of a day that is not kept"))
    return answers


async def _written(
    lane: Lane, new: Mapping[_Key, tuple[Any, ...]], due: Sequence[Sequence[Any]]
) -> Collection[_Key]:
    """The keys of those rows that were not there before."""
    columns = zip(*new.values(), strict=True)
    arrays = [array(type_, column) for type_, column in zip(_TYPES, columns, strict=True)]
    arrays.append(array("DATE", list({row[1] for row in new.values()})))
    statement = _INSERT_ALONE
    if any(due):
        statement = _INSERT_WITH_LINE
        arrays += [array(type_, column) for type_, column in zip(LINE_TYPES, due, strict=True)]
    result = await lane.committed(statement, arrays)
    if result.ntuples == len(new):
        return new.keys()
    return {(_number(result, row, 0), _number(result, row, 1)) for row in range(result.ntuples)}


def _number(result: PGresult, row: int, column: int) -> int:
    value = result.get_value(row, column)
    assert value is not None  # noqa: S101 - a part of the key
    return int.from_bytes(value, "big")


async def _find(lane: Lane, searches: Sequence[_Search]) -> Sequence[dict[DecisionId, Decision]]:
    keys = {(policy_id, id_) for policy_id, ids in searches for id_ in ids if _is_dated(id_)}
    stored = await _stored(lane, keys)
    return [
        {id_: found for id_ in ids if (found := stored.get((policy_id.int, id_.int))) is not None}
        for policy_id, ids in searches
    ]


async def _stored(
    lane: Lane, keys: Collection[tuple[PolicyId, DecisionId]]
) -> dict[_Key, Decision]:
    if not keys:
        return {}
    wanted = [(policy_id, day_of(id_), id_) for policy_id, id_ in keys]
    columns = columns_of(wanted, len(_KEY))
    arrays = [array(type_, column) for type_, column in zip(_KEY_TYPES, columns, strict=True)]
    arrays.append(array("DATE", list({day for _, day, _ in wanted})))
    found = [decision_from(row) for row in rows_of(await lane.committed(_FIND, arrays))]
    return {_key(decision): decision for decision in found}


def _key(decision: Decision) -> _Key:
    return decision.policy_id.int, decision.id.int  # the day follows from the id


def _is_dated(decision_id: UUID) -> bool:
    try:
        day_of(decision_id)
    except InvalidInput:
        return False
    return True
