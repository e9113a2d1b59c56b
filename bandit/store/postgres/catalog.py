"""Policies with their arms and prices."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    and_,
    insert,
    null,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from bandit.domain.arm import Arm, ArmId, ArmStatus
from bandit.domain.errors import AlreadyExists, StalePolicy, UnknownPolicy
from bandit.domain.objective import Objective
from bandit.domain.offline_prior import OfflinePrior
from bandit.domain.policy import Policy, PolicyId
from bandit.domain.price import Price, PriceVersion
from bandit.domain.tenant import DEFAULT_TENANT, Tenant
from bandit.features.schema import schema_of
from bandit.routing.history import STRUCTURAL
from bandit.routing.ports import PolicyEvent, Versions
from bandit.store.postgres import schema
from bandit.store.postgres.codecs import (
    budget_from,
    budget_json,
    prior_bytes,
    prior_sums,
    settings_from,
    settings_json,
    utc,
)
from bandit.store.postgres.engine import transaction
from bandit.store.postgres.history import keep_snapshot


class PostgresCatalog:
    """Implements `routing.ports.Catalog`; each method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(self, policy: Policy, event: PolicyEvent) -> None:
        with transaction(self._engine) as connection:
            made = connection.execute(
                upsert(schema.policy)
                .values(
                    id=policy.id,
                    name=policy.name,
                    tenant=policy.tenant,
                    hmac_key=policy.key,
                    created_at=policy.created_at,
                    **_changeable(policy),
                )
                .on_conflict_do_nothing()
                .returning(schema.policy.c.id)
            )
            if made.one_or_none() is None:
                raise AlreadyExists("policy", policy.name)
            _write_parts(connection, policy, event)

    def get(self, name: str, tenant: Tenant = DEFAULT_TENANT) -> Policy:
        if not name.isprintable():  # as no policy's name is; some cannot even be asked for
            raise UnknownPolicy(name)
        with transaction(self._engine, is_snapshot=True) as connection:
            policies = _read(
                connection, and_(schema.policy.c.tenant == tenant, schema.policy.c.name == name)
            )
        if not policies:
            raise UnknownPolicy(name)
        return policies[0]

    def list(self, tenant: Tenant | None = None) -> Sequence[Policy]:
        of_tenant = true() if tenant is None else schema.policy.c.tenant == tenant
        with transaction(self._engine, is_snapshot=True) as connection:
            return _read(connection, of_tenant)

    def policies(self, ids: Collection[PolicyId]) -> Sequence[Policy]:
        with transaction(self._engine, is_snapshot=True) as connection:
            return _read(connection, schema.policy.c.id.in_(ids))

    def replace(self, policy: Policy, event: PolicyEvent) -> None:
        with transaction(self._engine) as connection:
            if event.kind in STRUCTURAL:
                keep_snapshot(connection, policy.id, event.kind, at=event.at)
            replaced = connection.execute(
                update(schema.policy)
                .where(schema.policy.c.id == policy.id)
                .where(schema.policy.c.version == policy.version - 1)
                .values(**_changeable(policy))
                .returning(schema.policy.c.id)
            )
            if replaced.one_or_none() is None:
                raise StalePolicy(policy.name, expected=policy.version - 1)
            _write_parts(connection, policy, event)

    def versions(self) -> dict[PolicyId, Versions]:
        query = select(schema.policy.c.id, schema.policy.c.version, schema.policy.c.learned_version)
        with transaction(self._engine) as connection:
            rows = connection.execute(query).all()
        return {PolicyId(id_): Versions(version, learned) for id_, version, learned in rows}


def notify(connection: Connection, policy_id: PolicyId) -> None:
    """Tell the routers that a policy moved, when the transaction commits."""
    connection.execute(
        text("select pg_notify(:channel, :payload)"),
        {"channel": schema.CHANGED, "payload": str(policy_id)},
    )


def _changeable(policy: Policy) -> dict[str, Any]:
    """What successors may change; a policy's tenant, name and key are its own for life."""
    return {
        "settings": settings_json(policy.settings),
        "schema_id": schema_of(policy.settings.context).id,
        "version": policy.version,
        "is_archived": policy.is_archived,
        "budget": null() if policy.budget is None else budget_json(policy.budget),
        "budget_epoch": policy.budget_epoch,
    }


def _write_parts(connection: Connection, policy: Policy, event: PolicyEvent) -> None:
    """The arms, the prices and the event; what is there already is brought up to date."""
    arms = [
        {
            "policy_id": policy.id,
            "id": arm.id,
            "position": position,
            "name": arm.name,
            "status": arm.status.value,
            "context_window_tokens": arm.context_window_tokens,
            "explore_limit_usd": arm.explore_limit_usd,
        }
        for position, arm in enumerate(policy.arms)
    ]
    prices = [
        {
            "policy_id": policy.id,
            "arm_id": arm.id,
            "valid_from": version.valid_from,
            "input_usd_per_million": version.price.input_usd_per_million,
            "output_usd_per_million": version.price.output_usd_per_million,
            "fee_usd": version.price.fee_usd,
        }
        for arm in policy.arms
        for version in arm.prices
    ]
    for table, rows in ((schema.arm, arms), (schema.price, prices)):
        if rows:
            statement = upsert(table)
            renewed = {
                column.name: statement.excluded[column.name]
                for column in table.columns
                if not column.primary_key
            }
            connection.execute(
                statement.on_conflict_do_update(constraint=table.primary_key, set_=renewed), rows
            )
    _write_priors(connection, policy)
    log_event(connection, policy.id, event)
    notify(connection, policy.id)


def log_event(connection: Connection, policy_id: PolicyId, event: PolicyEvent) -> None:
    """Append one change to a policy's events."""
    connection.execute(
        insert(schema.policy_event).values(
            policy_id=policy_id,
            at=event.at,
            who=event.who,
            kind=event.kind,
            detail=dict(event.detail),
        )
    )


def _write_priors(connection: Connection, policy: Policy) -> None:
    """Those of arms that have none stored: they never change, and are long."""
    if not any(arm.offline for arm in policy.arms):
        return
    query = select(schema.arm_prior.c.arm_id).where(schema.arm_prior.c.policy_id == policy.id)
    stored = set(connection.execute(query).scalars())
    rows = [
        {
            "policy_id": policy.id,
            "arm_id": arm.id,
            "head": int(objective),
            "schema_id": offline.schema_id,
            "rows": offline.rows,
            "strength": offline.strength,
            "sums": prior_bytes(offline.sums),
        }
        for arm in policy.arms
        if arm.id not in stored
        for objective, offline in arm.offline.items()
    ]
    if rows:
        connection.execute(insert(schema.arm_prior), rows)


def _read(connection: Connection, where: ColumnElement[bool]) -> list[Policy]:
    """The policies in the order of their names, by code point as Python has it."""
    rows = connection.execute(
        select(schema.policy)
        .where(where)
        .order_by(schema.policy.c.name.collate("C"), schema.policy.c.tenant.collate("C"))
    ).all()
    ids = select(schema.policy.c.id).where(where)
    prices: defaultdict[UUID, list[PriceVersion]] = defaultdict(list)
    for row in connection.execute(
        select(schema.price)
        .where(schema.price.c.policy_id.in_(ids))
        .order_by(schema.price.c.valid_from)
    ):
        price = Price(row.input_usd_per_million, row.output_usd_per_million, row.fee_usd)
        prices[row.arm_id].append(PriceVersion(utc(row.valid_from), price))
    priors: defaultdict[UUID, dict[Objective, OfflinePrior]] = defaultdict(dict)
    for row in connection.execute(
        select(schema.arm_prior)
        .where(schema.arm_prior.c.policy_id.in_(ids))
        .order_by(schema.arm_prior.c.head)
    ):
        priors[row.arm_id][Objective(row.head)] = OfflinePrior(
            rows=row.rows,
            strength=row.strength,
            schema_id=row.schema_id,
            sums=prior_sums(bytes(row.sums)),
        )
    arms: defaultdict[UUID, list[Arm]] = defaultdict(list)
    for row in connection.execute(
        select(schema.arm).where(schema.arm.c.policy_id.in_(ids)).order_by(schema.arm.c.position)
    ):
        arms[row.policy_id].append(
            Arm(
                id=ArmId(row.id),
                name=row.name,
                status=ArmStatus(row.status),
                prices=tuple(prices[row.id]),
                context_window_tokens=row.context_window_tokens,
                offline=priors.get(row.id, {}),
                explore_limit_usd=row.explore_limit_usd,
            )
        )
    return [
        Policy(
            id=PolicyId(row.id),
            name=row.name,
            settings=settings_from(row.settings),
            key=row.hmac_key,
            created_at=utc(row.created_at),
            version=row.version,
            arms=tuple(arms[row.id]),
            is_archived=row.is_archived,
            budget=budget_from(row.budget),
            budget_epoch=row.budget_epoch,
            tenant=Tenant(row.tenant),
        )
        for row in rows
    ]
