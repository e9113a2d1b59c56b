"""Tenants: whose a policy is, and by which keys they call."""

from collections.abc import Sequence

from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

# Routers not yet upgraded take a name for that of one policy: they are right as long as no second
# tenant has one of the same name.
_TENANTS = """
alter table policy add column tenant text not null default 'default';
alter table policy drop constraint policy_name_key;
alter table policy add constraint policy_tenant_name_key unique (tenant, name);

create table credential (
    id text not null,
    tenant text not null,
    name text not null,
    scopes text[] not null,
    digest bytea,
    created_at timestamptz not null,
    expires_at timestamptz,
    revoked_at timestamptz,
    calls_per_second double precision,
    max_batch bigint,
    version bigint not null,
    primary key (id)
);
"""


def upgrade() -> None:
    """Every policy so far is the default tenant's."""
    op.execute(_TENANTS)
