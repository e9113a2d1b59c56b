"""What `tail`, `doctor` and `migrate` read of the database; they write nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np

from bandit.client import Charge
from bandit.domain.arm import arm_bits
from bandit.domain.decision import CANDIDATE, EPOCH, NO_DAY, day_of
from bandit.domain.objective import Objective
from bandit.store.postgres.engine import make_engine, transaction
from migrations.current import revisions


@dataclass(frozen=True, slots=True)
class Facts:
    """
    About a database server.

    version      such as 160004
    skew_s       its clock minus ours, in seconds, to half a round trip
    revision     of the schema; empty: none
    newest       the revision that this version of the program knows
    """

    version: int
    skew_s: float
    revision: str
    newest: str


@dataclass(frozen=True, slots=True)
class TailedDecision:
    """A decision as `tail` shows it; predicted: mean per objective; budget None: it had none."""

    id: UUID
    at: datetime
    arm: str
    propensity: float
    predicted: dict[str, float]
    budget: Charge | None


@dataclass(frozen=True, slots=True)
class TailedOutcome:
    """An outcome as `tail` shows it."""

    decision_id: UUID
    received_at: datetime
    arm: str
    objective: Objective
    value: float
    source: str
    sequence: int


class Database:
    """A database by its URL; raises Unavailable where it cannot be reached."""

    def __init__(self, url: str) -> None:
        self._engine = make_engine(url, pool_size=1)

    def facts(self) -> Facts:
        """Version, clock and schema."""
        with transaction(self._engine, is_snapshot=True) as connection:
            before = datetime.now(UTC)
            version, clock, has_schema = connection.exec_driver_sql(
                "select current_setting('server_version_num')::int, clock_timestamp(),"
                " to_regclass('alembic_version') is not null"
            ).one()
            halfway = before + (datetime.now(UTC) - before) / 2
            revision = (
                connection.exec_driver_sql("select version_num from alembic_version").scalar()
                if has_schema
                else None
            )
        return Facts(
            version=version,
            skew_s=(clock - halfway).total_seconds(),
            revision=revision or "",
            newest=revisions()[-1],
        )

    def policy_id(self, policy: str, *, tenant: str) -> UUID | None:
        """The tenant's policy of that name."""
        with transaction(self._engine, is_snapshot=True) as connection:
            found: UUID | None = connection.exec_driver_sql(
                "select id from policy where tenant = %(tenant)s and name = %(name)s",
                {"tenant": tenant, "name": policy},
            ).scalar()
        return found

    def decisions(self, policy_id: UUID, *, since: datetime, newest: int) -> list[TailedDecision]:
        """The newest decisions made after `since`, oldest first."""
        # The key is (policy, day, id) and a UUIDv7 begins with its time: no scan of the whole day.
        # Ids of callers may be of a clock that is off; other ids are all kept under one day.
        from_id = _least_uuid7(since - timedelta(minutes=1))
        query = """
            select d.id, d.at, a.name, d.arm_id, d.propensity, d.candidates, d.budget_price,
                   d.budget_balance, d.budget_utilisation, d.budget_overshoot_usd,
                   d.budget_expected_usd, d.budget_reserved_usd
            from (
                (select * from decision
                 where policy_id = %(policy)s and day >= %(day)s and id >= %(from_id)s
                   and at > %(since)s
                 order by day desc, id desc limit %(newest)s)
                union all
                (select * from decision
                 where policy_id = %(policy)s and day = %(no_day)s and at > %(since)s)
            ) d join arm a on a.policy_id = d.policy_id and a.id = d.arm_id
            order by d.at desc, d.id desc limit %(newest)s
        """
        values = {
            "policy": policy_id,
            "day": day_of(from_id),
            "from_id": from_id,
            "no_day": NO_DAY,
            "since": since,
            "newest": newest,
        }
        with transaction(self._engine, is_snapshot=True) as connection:
            rows = connection.exec_driver_sql(query, values).all()
        return [
            TailedDecision(
                id=row[0],
                at=row[1].astimezone(UTC),
                arm=row[2],
                propensity=row[4],
                predicted=_means(row[3], row[5]),
                budget=None if row[6] is None else Charge(*row[6:12]),
            )
            for row in reversed(rows)
        ]

    def outcomes(self, policy_id: UUID, decisions: Sequence[UUID]) -> list[TailedOutcome]:
        """Every outcome of these decisions, oldest first."""
        query = """
            select o.decision_id, o.received_at, a.name, o.head, o.value, o.source, o.sequence
            from outcome o
            join decision d on (d.policy_id, d.day, d.id) = (o.policy_id, o.day, o.decision_id)
            join arm a on (a.policy_id, a.id) = (d.policy_id, d.arm_id)
            where o.policy_id = %(policy)s and o.day = any(%(days)s)
              and o.decision_id = any(%(decisions)s)
            order by o.received_at, o.decision_id, o.head
        """
        values = {
            "policy": policy_id,
            "days": sorted({day_of(decision) for decision in decisions}),
            "decisions": list(decisions),
        }
        with transaction(self._engine, is_snapshot=True) as connection:
            rows = connection.exec_driver_sql(query, values).all()
        return [
            TailedOutcome(
                row[0], row[1].astimezone(UTC), row[2], Objective(row[3]), row[4], row[5], row[6]
            )
            for row in rows
        ]


def _least_uuid7(at: datetime) -> UUID:
    milliseconds = max(0, int((at - EPOCH).total_seconds() * 1000))
    return UUID(int=(milliseconds << 80) | (7 << 76) | (0b10 << 62))


def _means(arm_id: UUID, candidates: bytes) -> dict[str, float]:
    """What was predicted for the chosen arm, per objective that was learned."""
    rows = np.frombuffer(candidates, CANDIDATE)
    chosen = rows[(rows["arm"] == np.array(arm_bits(arm_id), "<u8")).all(axis=1)]  # type: ignore[arg-type]
    if not len(chosen):
        return {}
    means = {o.label: float(chosen[0]["mean"][o]) for o in Objective}
    return {label: mean for label, mean in means.items() if not np.isnan(mean)}
