"""The learned state, as routers read it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, select, text

from bandit.domain.arm import ArmId
from bandit.domain.errors import CorruptPosterior, UnknownPolicy
from bandit.domain.objective import Objective
from bandit.domain.policy import PolicyId
from bandit.learning.alarms import Alarm
from bandit.routing.ports import Cell, StoredSums
from bandit.store.postgres import schema
from bandit.store.postgres.codecs import sums_from
from bandit.store.postgres.engine import transaction
from bandit.store.postgres.watching import alarms_of

# Cells known at their current version stay where they are: sums are long.
_CHANGED = text(
    """
    select arm_id, head, version, observations, epoch, sums from posterior
    where policy_id = :policy_id and schema_id = :schema_id and not exists (
        select from unnest(cast(:arms as uuid[]), cast(:heads as smallint[]),
                           cast(:versions as bigint[])) as known (arm_id, head, version)
        where (known.arm_id, known.head, known.version)
            = (posterior.arm_id, posterior.head, posterior.version)
    )
    """
)
_PENDING = text(
    "select count(*) from (select distinct decision_id, head from dirty_key"
    " where policy_id = :policy_id) as pending"
)
# Of what is due later, only what a learner put off: a policy with windows may have millions of keys
# whose window is open, and the index `dirty_key_postponed` has none of them.
_PENDING_AT = text(
    """
    select count(*) from (
        select decision_id, head from dirty_key where policy_id = :policy_id and due_at <= :now
        union
        select decision_id, head from dirty_key
        where policy_id = :policy_id and not is_held and due_at > '-infinity'
    ) as pending
    """
)
_QUARANTINED = text("select count(*) from quarantine where policy_id = :policy_id")


class PostgresPosteriors:
    """Implements `routing.ports.PosteriorReader`; each method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def learned(
        self, policy_id: PolicyId, schema_id: str, *, known: Mapping[Cell, int]
    ) -> tuple[int, dict[Cell, StoredSums]]:
        """As the port says; UnknownPolicy if there is none of that id."""
        version_query = select(schema.policy.c.learned_version).where(
            schema.policy.c.id == policy_id
        )
        with transaction(self._engine, is_snapshot=True) as connection:
            learned_version = connection.execute(version_query).scalar()
            if learned_version is None:
                raise UnknownPolicy(str(policy_id))
            rows = connection.execute(
                _CHANGED,
                {
                    "policy_id": policy_id,
                    "schema_id": schema_id,
                    "arms": [arm_id for arm_id, _ in known],
                    "heads": [int(head) for _, head in known],
                    "versions": list(known.values()),
                },
            ).all()
            alarms = alarms_of(connection, policy_id) if rows else {}
        return learned_version, dict(stored_sums_from(row, alarms) for row in rows)

    def pending(self, policy_id: PolicyId, *, now: datetime | None = None) -> int:
        query = _PENDING if now is None else _PENDING_AT
        values = {"policy_id": policy_id} | ({} if now is None else {"now": now})
        with transaction(self._engine) as connection:
            return int(connection.execute(query, values).scalar_one())

    def quarantined(self, policy_id: PolicyId) -> int:
        with transaction(self._engine) as connection:
            return int(connection.execute(_QUARANTINED, {"policy_id": policy_id}).scalar_one())


def stored_sums_from(
    row: Sequence[Any], alarms: Mapping[Cell, tuple[Alarm, ...]]
) -> tuple[Cell, StoredSums]:
    """
    A cell from (arm, head, version, observations, epoch, sums), and the policy's alarms.

    What cannot be decoded is said in `fault`, so that it keeps no other cell from being read.
    """
    arm_id, head, version, observations, epoch, kept = row
    sums, fault = None, ""
    try:
        sums = sums_from(bytes(kept), epoch=epoch)
    except CorruptPosterior as error:
        fault = str(error)
    cell = (ArmId(arm_id), Objective(head))
    return cell, StoredSums(version, observations, sums, fault, alarms.get(cell, ()))
