"""The learned state as it was, rows that do not count, and what of the log cannot be learned."""

from collections.abc import Sequence

from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_HISTORY = """
create table exclusion (
    policy_id uuid not null references policy (id),
    id bigint generated always as identity,
    at timestamptz not null,
    source text,
    received_after timestamptz,
    received_until timestamptz not null,
    lifted_at timestamptz,
    primary key (policy_id, id)
);

create table quarantine (
    policy_id uuid not null references policy (id),
    kind text not null,
    key text not null,
    reason text not null,
    at timestamptz not null,
    payload bytea,
    primary key (policy_id, kind, key)
);

create table posterior_snapshot (
    policy_id uuid not null references policy (id),
    id bigint generated always as identity,
    at timestamptz not null,
    reason text not null,
    learned_version bigint not null,
    pending bigint not null,
    alarms jsonb not null,
    exclusions jsonb not null,
    primary key (policy_id, id)
);

create table posterior_history (
    policy_id uuid not null,
    snapshot_id bigint not null,
    schema_id text not null,
    arm_id uuid not null,
    head smallint not null,
    version bigint not null,
    epoch timestamptz not null,
    observations bigint not null,
    weight double precision not null,
    sums bytea not null,
    primary key (policy_id, snapshot_id, schema_id, arm_id, head),
    foreign key (policy_id, snapshot_id) references posterior_snapshot (policy_id, id)
        on delete cascade
);
"""

# When the alarms so far were raised, their events tell; learners of the last release write none,
# and the database then says when the row came.
_RAISED = """
alter table alarm add column raised_at timestamptz;

update alarm set raised_at = event.at
from policy_event as event, arm
where event.policy_id = alarm.policy_id and event.kind = 'drift_alarm'
    and (arm.policy_id, arm.id) = (alarm.policy_id, alarm.arm_id)
    and event.detail ->> 'arm' = arm.name
    and event.detail ->> 'objective' = (array['quality', 'cost', 'latency'])[alarm.head + 1]
    and cast(event.detail ->> 'decided_until' as timestamptz) = alarm.at;

alter table alarm alter column raised_at set default now();
"""


def upgrade() -> None:
    """Nothing is kept of the state so far until it is learned further."""
    op.execute(_HISTORY)
    op.execute(_RAISED)
