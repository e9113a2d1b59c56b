"""Policies, the log of decisions and outcomes, the line of dirty keys, and the posteriors."""

from collections.abc import Sequence

from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_POLICIES = """
create table policy (
    id uuid primary key,
    name text not null unique,
    settings jsonb not null,
    schema_id text not null,
    hmac_key bytea not null,
    version bigint not null,
    learned_version bigint not null default 0,
    is_archived boolean not null,
    created_at timestamptz not null
);

create table policy_event (
    policy_id uuid not null references policy (id),
    id bigint not null generated always as identity,
    at timestamptz not null,
    who text not null,
    kind text not null,
    detail jsonb not null,
    primary key (policy_id, id)
);

create table arm (
    policy_id uuid not null references policy (id),
    id uuid not null,
    position bigint not null,
    name text not null,
    status text not null,
    context_window_tokens bigint,
    primary key (policy_id, id)
);

create table price (
    policy_id uuid not null,
    arm_id uuid not null,
    valid_from timestamptz not null,
    input_usd_per_million double precision not null,
    output_usd_per_million double precision not null,
    fee_usd double precision not null,
    primary key (policy_id, arm_id, valid_from),
    foreign key (policy_id, arm_id) references arm (policy_id, id)
);
"""

_LOG = """
create table decision (
    policy_id uuid not null,
    day date not null,
    id uuid not null,
    at timestamptz not null,
    arm_id uuid not null,
    propensity double precision not null,
    context bytea not null,
    schema_id text not null,
    fingerprint bytea not null,
    quality_weight double precision,
    cost_weight double precision,
    latency_weight double precision,
    willingness_to_pay_usd double precision,
    input_tokens bigint not null,
    list_usd double precision not null,
    input_usd_per_million double precision,
    output_usd_per_million double precision,
    fee_usd double precision,
    policy_version bigint not null,
    snapshot_version bigint not null,
    candidates bytea not null,
    labels json not null,
    primary key (policy_id, day, id)
) partition by range (day);

create table outcome (
    policy_id uuid not null,
    day date not null,
    decision_id uuid not null,
    head smallint not null,
    source text not null,
    sequence bigint not null,
    value double precision not null,
    received_at timestamptz not null,
    observed_at timestamptz,
    primary key (policy_id, day, decision_id, head, source, sequence)
) partition by range (day);

create table contribution (
    policy_id uuid not null,
    day date not null,
    decision_id uuid not null,
    head smallint not null,
    value double precision not null,
    primary key (policy_id, day, decision_id, head)
) partition by range (day);
"""

_LEARNING = """
create table dirty_key (
    policy_id uuid not null,
    ticket bigint not null generated always as identity,
    decision_id uuid not null,
    head smallint not null,
    due_at timestamptz not null,
    primary key (policy_id, ticket)
) with (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);

create index dirty_key_due on dirty_key (policy_id, due_at, ticket);

create table posterior (
    policy_id uuid not null,
    schema_id text not null,
    arm_id uuid not null,
    head smallint not null,
    version bigint not null,
    epoch timestamptz not null,
    observations bigint not null,
    weight double precision not null,
    sums bytea not null,
    primary key (policy_id, schema_id, arm_id, head)
);
"""


def upgrade() -> None:
    """The first schema; daily partitions are made by `ensure_partitions`."""
    for statements in (_POLICIES, _LOG, _LEARNING):
        op.execute(statements)
