"""What outcomes recorded elsewhere say of an arm, per head."""

from collections.abc import Sequence

from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_PRIORS = """
create table arm_prior (
    policy_id uuid not null,
    arm_id uuid not null,
    head smallint not null,
    schema_id text not null,
    rows bigint not null,
    strength double precision not null,
    sums bytea not null,
    primary key (policy_id, arm_id, head),
    foreign key (policy_id, arm_id) references arm (policy_id, id)
);
"""


def upgrade() -> None:
    """Arms that are there already have none."""
    op.execute(_PRIORS)
