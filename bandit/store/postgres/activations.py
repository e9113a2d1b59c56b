"""Decisions that were made to wait, and wait no longer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import sql

from bandit.domain.decision import Decision, day_of
from bandit.store.postgres import schema
from bandit.store.postgres.deadlines import all_due, queue_for
from bandit.store.postgres.group_commit import GroupCommit
from bandit.store.postgres.lane import HOT_STATEMENT_TIMEOUT_MS, Lane
from bandit.store.postgres.statements import columns_of, rows

_KEY = (schema.decision.c.policy_id, schema.decision.c.day, schema.decision.c.id)
_ROW = (*_KEY, schema.decision.c.activated_at)

# Locked in the order of their keys, so that two groups wait for each other in one direction only;
# whoever waited sees that it was done.  What is due goes in line in the same statement: never one
# without the other.
_ACTIVATE = sql.SQL(
    """
    with waiting as (
        select decision.policy_id, decision.day, decision.id, key_activated_at as at
        from {keys} join decision
            on (decision.policy_id, decision.day, decision.id) = (key_policy_id, key_day, key_id)
        where decision.day = any(%b::date[]) and decision.is_deferred
            and decision.activated_at is null
        order by decision.policy_id, decision.day, decision.id
        for no key update of decision
    ), activated as (
        update decision set activated_at = waiting.at from waiting
        where (decision.policy_id, decision.day, decision.id)
            = (waiting.policy_id, waiting.day, waiting.id)
            and decision.day = any(%b::date[])
        returning decision.policy_id, decision.id
    ), line as (
        {queue}
    )
    select policy_id, id from activated
    """
).format(keys=rows("key", _ROW, prefix="key_"), queue=queue_for("activated"))


@dataclass(frozen=True, slots=True)
class _Activate:
    decision: Decision
    at: datetime


class PostgresActivationLog:
    """
    Implements `routing.ports.ActivationLog` on one connection that writes in groups.

    For one event loop; `close` when it ends.
    """

    def __init__(self, url: str, *, statement_timeout_ms: int = HOT_STATEMENT_TIMEOUT_MS) -> None:
        self._writes = GroupCommit(Lane(url, statement_timeout_ms=statement_timeout_ms), _activate)

    async def activate(self, decisions: Sequence[Decision], *, at: datetime) -> Sequence[bool]:
        answers = await self._writes.answers([_Activate(decision, at) for decision in decisions])
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return [answer is True for answer in answers]

    async def close(self) -> None:
        """Finish what is waiting and give the connection back."""
        await self._writes.close()


async def _activate(lane: Lane, calls: Sequence[_Activate]) -> Sequence[bool]:
    firsts: dict[tuple[UUID, UUID], _Activate] = {}
    for call in calls:
        firsts.setdefault((call.decision.policy_id, call.decision.id), call)
    keys = [
        (call.decision.policy_id, day_of(call.decision.id), call.decision.id, call.at)
        for call in firsts.values()
    ]
    days = list({day for _, day, _, _ in keys})
    due = all_due(call.decision for call in firsts.values())
    arrays = [*columns_of(keys, len(_ROW)), days, days, *due]
    async with lane.transaction() as connection:
        cursor = await connection.execute(_ACTIVATE, arrays, binary=True)
        activated = set(await cursor.fetchall())
    # Of two in one group the first did it.
    return [
        firsts[key] is call and key in activated
        for call in calls
        for key in [(call.decision.policy_id, call.decision.id)]
    ]
