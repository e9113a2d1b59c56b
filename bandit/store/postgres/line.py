"""How long the line of what is to be learned is, for those who watch over it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, Row, text

from bandit.domain.decision import day_of
from bandit.domain.policy import PolicyId
from bandit.store.postgres.engine import transaction

MOST_COUNTED = 1_000_000

_LINES = text(
    f"""
    select policy.id, waiting.entries, postponed.due_at, first.decision_id, first.head,
           (select count(*) from quarantine where policy_id = policy.id) as quarantined
    from policy
    cross join lateral (
        select count(*) as entries from (
            select from dirty_key where policy_id = policy.id and due_at <= :now
            limit {MOST_COUNTED}
        ) as due
    ) as waiting
    left join lateral (
        select due_at from dirty_key
        where policy_id = policy.id and due_at > '-infinity' and due_at <= :now
        order by due_at limit 1
    ) as postponed on true
    left join lateral (
        select decision_id, head from dirty_key
        where policy_id = policy.id and due_at = '-infinity'
        order by ticket limit 1
    ) as first on true
    """  # noqa: S608 - a constant of this file
)
_RECEIVED = text(
    """
    select line.policy_id, max(outcome.received_at) as at
    from unnest(cast(:policies as uuid[]), cast(:days as date[]), cast(:ids as uuid[]),
                cast(:heads as smallint[])) as line (policy_id, day, decision_id, head)
    join outcome using (policy_id, day, decision_id, head)
    group by line.policy_id
    """
)


@dataclass(frozen=True, slots=True)
class Line:
    """
    What of one policy waits to be learned.

    entries      that are due, up to `MOST_COUNTED`; one (decision, head) may have several
    since        when the first of them became due, as far as that is known; None: none waits
    quarantined  what cannot be learned
    """

    policy_id: PolicyId
    entries: int
    since: datetime | None
    quarantined: int


def lines(engine: Engine, *, now: datetime) -> list[Line]:
    """The lines of all policies; raises Unavailable."""
    with transaction(engine) as connection:
        rows = connection.execute(_LINES, {"now": now}).all()
        received = _received(connection, [row for row in rows if row.decision_id is not None])
    return [
        Line(
            PolicyId(row.id),
            row.entries,
            min(filter(None, (row.due_at, received.get(row.id))), default=None),
            row.quarantined,
        )
        for row in rows
    ]


def _received(
    connection: Connection, rows: Sequence[Row[tuple[object, ...]]]
) -> dict[object, datetime]:
    """When the newest outcome came of what is first in line, per policy."""
    if not rows:
        return {}
    values = {
        "policies": [row.id for row in rows],
        "days": [day_of(row.decision_id) for row in rows],
        "ids": [row.decision_id for row in rows],
        "heads": [row.head for row in rows],
    }
    return {row.policy_id: row.at for row in connection.execute(_RECEIVED, values)}
