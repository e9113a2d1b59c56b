from datetime import timedelta

import pytest

from bandit.learning.exclusion import Exclusion, counted
from tests.builders import NOW, a_decision, a_policy, an_outcome

MINUTE = timedelta(minutes=1)


def row(source="judge", *, minute=0):
    return an_outcome(a_decision(a_policy()), source=source, received_at=NOW + minute * MINUTE)


@pytest.mark.parametrize(
    ("minute", "is_covered"), [(-1, False), (0, False), (1, True), (5, True), (6, False)]
)
def test_an_interval_leaves_out_its_end_and_not_its_beginning(minute, is_covered):
    exclusion = Exclusion(None, NOW, NOW + 5 * MINUTE)

    assert exclusion.covers(row(minute=minute)) is is_covered


def test_a_source_is_left_out_from_the_beginning_and_no_other_is():
    exclusion = Exclusion("liar", None, NOW)
    rows = [row("liar", minute=-9), row("judge", minute=-9), row("liar", minute=1)]

    assert counted(rows, [exclusion]) == rows[1:]


def test_a_row_that_any_exclusion_covers_is_left_out():
    rows = [row("liar", minute=-9), row("judge", minute=2), row("judge", minute=-1)]

    left = counted(rows, [Exclusion("liar", None, NOW), Exclusion(None, NOW, NOW + 5 * MINUTE)])

    assert left == rows[2:]
    assert counted(rows, []) == rows
