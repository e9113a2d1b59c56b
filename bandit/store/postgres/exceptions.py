"""What of the log does not count, or cannot be learned, for whoever has the transaction."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from sqlalchemy import ARRAY, BigInteger, Connection, any_, insert, literal, select, text, update

from bandit.domain.policy import PolicyId
from bandit.learning.exclusion import Exclusion
from bandit.routing.misfit import Misfit
from bandit.store.postgres import schema
from bandit.store.postgres.codecs import utc

_SET_ASIDE = text(
    """
    insert into quarantine (policy_id, kind, key, reason, at, payload)
    select :policy_id, new.kind, new.key, new.reason, :at, new.payload from
        unnest(cast(:kinds as text[]), cast(:keys as text[]), cast(:reasons as text[]),
               cast(:payloads as bytea[])) as new (kind, key, reason, payload)
    on conflict (policy_id, kind, key) do update set
        reason = excluded.reason, at = excluded.at, payload = excluded.payload
    """
)


def set_aside(
    connection: Connection, policy_id: PolicyId, misfits: Collection[Misfit], *, at: datetime
) -> None:
    """Put misfits into quarantine; of one key the last reason stays."""
    if not misfits:
        return
    last = {(misfit.kind, misfit.key): misfit for misfit in misfits}
    kept = [last[key] for key in sorted(last)]
    connection.execute(
        _SET_ASIDE,
        {
            "policy_id": policy_id,
            "at": at,
            "kinds": [misfit.kind for misfit in kept],
            "keys": [misfit.key for misfit in kept],
            "reasons": [misfit.reason for misfit in kept],
            "payloads": [misfit.payload for misfit in kept],
        },
    )


def exclusions_of(
    connection: Connection, policy_id: PolicyId, ids: Iterable[int] | None = None
) -> list[tuple[int, Exclusion]]:
    """The exclusions of these ids, with their ids; None: those in force."""
    columns = schema.exclusion.c
    wanted = (
        columns.lifted_at.is_(None)
        if ids is None
        else columns.id == any_(literal(list(ids), ARRAY(BigInteger)))
    )
    query = select(schema.exclusion).where(columns.policy_id == policy_id, wanted)
    return [
        (
            row.id,
            Exclusion(
                row.source,
                None if row.received_after is None else utc(row.received_after),
                utc(row.received_until),
            ),
        )
        for row in connection.execute(query.order_by(columns.id))
    ]


def exclude(
    connection: Connection,
    policy_id: PolicyId,
    exclusions: Sequence[Exclusion],
    *,
    beside: Collection[int],
    at: datetime,
) -> None:
    """Have these in force, and of the earlier ones those of the ids `beside`."""
    columns = schema.exclusion.c
    is_kept = columns.id == any_(literal(list(beside), ARRAY(BigInteger)))
    of_policy = update(schema.exclusion).where(columns.policy_id == policy_id)
    connection.execute(of_policy.where(columns.lifted_at.is_(None), ~is_kept).values(lifted_at=at))
    connection.execute(
        of_policy.where(columns.lifted_at.is_not(None), is_kept).values(lifted_at=None)
    )
    if exclusions:
        connection.execute(
            insert(schema.exclusion),
            [
                {
                    "policy_id": policy_id,
                    "at": at,
                    "source": exclusion.source,
                    "received_after": exclusion.received_after,
                    "received_until": exclusion.received_until,
                }
                for exclusion in exclusions
            ],
        )
