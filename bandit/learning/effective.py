"""The value of one (decision, head) that counts: a pure function of the log."""

from collections.abc import Iterable
from datetime import datetime

from bandit.domain.decision import Decision
from bandit.domain.objective import Objective
from bandit.domain.outcome import OutcomeRow


def effective_value(
    rows: Iterable[OutcomeRow], *, due_at: datetime | None = None, default: float | None = None
) -> float | None:
    """
    The mean over sources of each source's value with the highest sequence; `default` without rows.

    due_at  rows received later do not count; None: all do

    Sources are summed in the order of their names, so that the order of arrival cannot matter.
    """
    latest: dict[str, OutcomeRow] = {}
    for row in rows:
        if due_at is not None and row.received_at > due_at:
            continue
        if row.source not in latest or row.sequence > latest[row.source].sequence:
            latest[row.source] = row
    if not latest:
        return default
    return sum(latest[source].value for source in sorted(latest)) / len(latest)


def value_taught(
    decision: Decision, objective: Objective, rows: Iterable[OutcomeRow], *, now: datetime
) -> float | None:
    """
    What one head of a decision has to teach at `now`; None: nothing yet, or nothing at all.

    A decision that waits for its activation teaches nothing, nor does a head with a default before
    its window closes.
    """
    if not decision.is_active:
        return None
    deadline = decision.deadlines.get(objective)
    if deadline is None:
        return effective_value(rows)
    if deadline.default is not None and now < deadline.due_at:
        return None
    return effective_value(rows, due_at=deadline.due_at, default=deadline.default)
