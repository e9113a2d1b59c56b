"""The value of one (decision, head) that counts: a pure function of the log."""

from collections.abc import Iterable

from bandit.domain.outcome import OutcomeRow


def effective_value(rows: Iterable[OutcomeRow]) -> float | None:
    """
    The mean over sources of each source's value with the highest sequence; None without rows.

    Sources are summed in the order of their names, so that the order of arrival cannot matter.
    """
    latest: dict[str, OutcomeRow] = {}
    for row in rows:
        if row.source not in latest or row.sequence > latest[row.source].sequence:
            latest[row.source] = row
    if not latest:
        return None
    return sum(latest[source].value for source in sorted(latest)) / len(latest)
