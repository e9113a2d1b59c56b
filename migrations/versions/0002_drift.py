"""Alarms, the watch over every arm and head, and how many alarms its sums went through."""

from collections.abc import Sequence

from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_DRIFT = """
create table alarm (
    policy_id uuid not null,
    arm_id uuid not null,
    head smallint not null,
    at timestamptz not null,
    weight double precision not null,
    primary key (policy_id, arm_id, head, at)
);

create table drift_monitor (
    policy_id uuid not null,
    arm_id uuid not null,
    head smallint not null,
    latest_at timestamptz not null,
    grown_at timestamptz,
    detector text not null,
    observations bigint not null,
    memory bytea not null,
    primary key (policy_id, arm_id, head)
);

alter table posterior
    add column alarms bigint not null default 0,
    add column alarmed_at timestamptz;
"""


def upgrade() -> None:
    """Nothing has been alarmed so far; a watch begins with the next outcome."""
    op.execute(_DRIFT)
