from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandit.domain.objective import Objective
from bandit.domain.reward_window import Deadline
from bandit.learning.effective import effective_value, value_taught
from tests.builders import NOW, a_decision, a_policy, an_outcome

DECISION = a_decision(a_policy())


def rows_of(values):
    """Rows from {(source, sequence): value}."""
    return [
        an_outcome(DECISION, source=source, sequence=sequence, value=value)
        for (source, sequence), value in values.items()
    ]


def test_without_rows_there_is_no_value():
    assert effective_value([]) is None


def test_the_highest_sequence_of_a_source_counts():
    rows = rows_of({("judge", 0): 0.1, ("judge", 7): 0.4, ("judge", 3): 0.9})

    assert effective_value(rows) == 0.4


def test_sources_are_averaged():
    """Of the judge .4, of the user 1: the mean is .7."""
    rows = rows_of({("judge", 0): 0.1, ("judge", 1): 0.4, ("user", 0): 1.0})

    assert effective_value(rows) == pytest.approx(0.7)


@settings(deadline=None, max_examples=100)
@given(
    values=st.dictionaries(
        st.tuples(st.sampled_from("abcde"), st.integers(0, 5)),
        st.floats(0.0, 1.0),
        min_size=1,
    ),
    random=st.randoms(use_true_random=False),
)
def test_the_order_of_arrival_does_not_matter_to_the_last_bit(values, random):
    rows = rows_of(values)
    shuffled = random.sample(rows, len(rows))

    assert effective_value(rows) == effective_value(shuffled)


def test_without_rows_the_default_counts():
    assert effective_value([], due_at=NOW, default=0.3) == 0.3


@settings(deadline=None, max_examples=200)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from("ab"), st.integers(0, 3), st.floats(0.0, 1.0), st.integers(-2, 2)
        ),
        unique_by=lambda row: row[:2],
    ),
    default=st.none() | st.floats(0.0, 1.0),
)
def test_with_a_window_the_value_is_the_mean_of_the_sources_latest_in_time(rows, default):
    """By the definition: rows received after the due time might as well not be there."""
    in_time = {}
    for source, _, value, after in sorted(rows):
        if after <= 0:
            in_time[source] = value
    expected = sum(in_time.values()) / len(in_time) if in_time else default

    value = effective_value(
        [
            an_outcome(
                DECISION,
                source=source,
                sequence=sequence,
                value=value,
                received_at=NOW + timedelta(microseconds=after),
            )
            for source, sequence, value, after in rows
        ],
        due_at=NOW,
        default=default,
    )

    assert value == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("default", "now", "value"),
    [
        (0.3, NOW - timedelta(microseconds=1), None),
        (0.3, NOW, 0.75),
        (None, NOW - timedelta(hours=1), 0.75),
    ],
)
def test_a_head_with_a_default_waits_for_its_window_to_close(default, now, value):
    decision = a_decision(a_policy(), deadlines={Objective.QUALITY: Deadline(NOW, default)})
    rows = [an_outcome(decision, received_at=NOW - timedelta(hours=2))]

    assert value_taught(decision, Objective.QUALITY, rows, now=now) == value


def test_a_decision_teaches_when_it_is_activated_and_not_before():
    waiting = a_decision(a_policy(), is_deferred=True)
    active = a_decision(a_policy(), is_deferred=True, activated_at=NOW)

    assert value_taught(waiting, Objective.QUALITY, [an_outcome(waiting)], now=NOW) is None
    assert value_taught(active, Objective.QUALITY, [an_outcome(active)], now=NOW) == 0.75
