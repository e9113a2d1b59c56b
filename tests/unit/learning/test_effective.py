import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandit.learning.effective import effective_value
from tests.builders import a_decision, a_policy, an_outcome

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
