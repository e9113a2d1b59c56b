"""How fast outcomes after an alarm lose weight."""

from collections.abc import Sequence

from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """After the alarms so far nothing fades: their sums stay as they were folded."""
    op.execute("alter table alarm add column fading_hours double precision")
