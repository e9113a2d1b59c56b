"""Reward windows and deferred activation, as they were in force when a decision was made."""

from collections.abc import Sequence

from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_WINDOWS = """
alter table decision
    add column deadlines bytea,
    add column is_deferred boolean,
    add column activated_at timestamptz;

alter table dirty_key add column is_held boolean not null default false;

create index dirty_key_postponed on dirty_key (policy_id)
    where not is_held and due_at > '-infinity'::timestamptz;
"""


def upgrade() -> None:
    """Decisions so far, and those of routers not yet upgraded, have no windows and are active."""
    op.execute(_WINDOWS)
