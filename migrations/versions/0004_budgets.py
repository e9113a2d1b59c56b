"""Budgets: what policies may spend, the ledger that processes share, and what decisions booked."""

from collections.abc import Sequence

from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_BUDGETS = """
alter table policy
    add column budget jsonb,
    add column budget_epoch bigint not null default 0;

alter table arm add column explore_limit_usd double precision;

alter table decision
    add column budget_epoch bigint,
    add column budget_price double precision,
    add column budget_balance double precision,
    add column budget_utilisation double precision,
    add column budget_overshoot_usd double precision,
    add column budget_expected_usd double precision,
    add column budget_reserved_usd double precision,
    add column budget_limit_name text;

create table budget_account (
    policy_id uuid not null,
    epoch bigint not null,
    balance double precision not null,
    decisions bigint not null,
    spent_usd double precision not null,
    primary key (policy_id, epoch)
) with (fillfactor = 50);

create table allowance (
    policy_id uuid not null,
    name text not null,
    taken double precision not null,
    at timestamptz not null,
    primary key (policy_id, name)
) with (fillfactor = 50);

create table reservation (
    policy_id uuid not null,
    decision_id uuid not null,
    epoch bigint not null,
    name text not null,
    reserved_usd double precision not null,
    expected_usd double precision not null,
    expires_at timestamptz not null,
    primary key (policy_id, decision_id)
);

create index reservation_expiry on reservation (policy_id, expires_at);
"""


def upgrade() -> None:
    """Policies without a budget stay as they are."""
    op.execute(_BUDGETS)
