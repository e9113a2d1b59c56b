"""The windows of a decision in its row, and the line of what is due when they close."""

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from psycopg import sql

from bandit.domain.decision import EPOCH, Decision
from bandit.domain.objective import HEADS, Objective
from bandit.domain.reward_window import NO_DEADLINES, Deadline
from bandit.store.postgres import schema
from bandit.store.postgres.statements import array_types, columns_of, rows

# head | due_at in microseconds since 1970 | default, NaN: none; little-endian, no padding
_DEADLINE = struct.Struct("<Bqd")
_MICROSECOND = timedelta(microseconds=1)

_LINE = schema.dirty_key.c
_LINE_COLUMNS = [_LINE.policy_id, _LINE.decision_id, _LINE.head, _LINE.due_at, _LINE.is_held]

LINE_TYPES = array_types(_LINE_COLUMNS)


def queue_for(decisions: str) -> sql.Composable:
    """
    Puts in line what is due for some of a statement's decisions, and nothing for the others.

    decisions  the name of their rows there, which have policy_id and id
    """
    return sql.SQL(
        """
        insert into dirty_key (policy_id, decision_id, head, due_at, is_held)
        select new_policy_id, new_decision_id, new_head, coalesce(new_due_at, '-infinity'),
               new_is_held
        from {due} join {decisions} on (policy_id, id) = (new_policy_id, new_decision_id)
        """
    ).format(due=rows("due", _LINE_COLUMNS, prefix="new_"), decisions=sql.Identifier(decisions))


def deadlines_bytes(deadlines: Mapping[Objective, Deadline]) -> bytes | None:
    """The windows of a decision; None where there are none."""
    if not deadlines:
        return None
    return b"".join(
        _DEADLINE.pack(
            objective,
            (deadline.due_at - EPOCH) // _MICROSECOND,
            math.nan if deadline.default is None else deadline.default,
        )
        for objective, deadline in deadlines.items()
    )


def deadlines_from(kept: bytes | None) -> Mapping[Objective, Deadline]:
    """What `deadlines_bytes` wrote."""
    if kept is None:
        return NO_DEADLINES
    return MappingProxyType(
        {
            Objective(head): Deadline(
                EPOCH + timedelta(microseconds=due_at), None if math.isnan(default) else default
            )
            for head, due_at, default in _DEADLINE.iter_unpack(kept)
        }
    )


def falling_due(decisions: Iterable[Decision]) -> list[list[Any]]:
    """The parameters of `queue_for`: heads with a default, of decisions that teach."""
    return _columns(
        (decision, objective, due_at)
        for decision in decisions
        if decision.is_active
        for objective, due_at in decision.held_until.items()
    )


def all_due(decisions: Iterable[Decision]) -> list[list[Any]]:
    """
    The parameters of `queue_for`: every head, at once where no window holds it.

    Those without outcomes too: one may be on its way to the log, unseen by this transaction, while
    the learner has already passed over the key that it made dirty.
    """
    return _columns(
        (decision, objective, decision.held_until.get(objective))
        for decision in decisions
        for objective in HEADS
    )


def _columns(due: Iterable[tuple[Decision, Objective, datetime | None]]) -> list[list[Any]]:
    lines: Sequence[Sequence[Any]] = [
        (decision.policy_id, decision.id, int(objective), due_at, due_at is not None)
        for decision, objective, due_at in due
    ]
    return columns_of(lines, len(_LINE_COLUMNS))
