"""Equality of values that hold arrays, which have no `==` of their own."""

from dataclasses import fields

from numpy.testing import assert_array_equal

from bandit.domain.decision import Decision
from bandit.learning.sums import Sums
from bandit.routing.ports import StoredSums


def assert_same_decision(actual: Decision, expected: Decision) -> None:
    """Bit for bit."""
    for field in fields(Decision):
        one, other = getattr(actual, field.name), getattr(expected, field.name)
        if field.name in ("context", "candidates"):
            assert one.dtype == other.dtype
            assert one.tobytes() == other.tobytes(), field.name
        else:
            assert one == other, field.name


def assert_same_sums(actual: Sums, expected: Sums) -> None:
    """Bit for bit."""
    assert (actual.features, actual.epoch) == (expected.features, expected.epoch)
    assert_array_equal(actual.values, expected.values)


def assert_same_stored(actual: StoredSums, expected: StoredSums) -> None:
    """Bit for bit."""
    assert (actual.version, actual.observations) == (expected.version, expected.observations)
    assert actual.sums is not None
    assert expected.sums is not None
    assert_same_sums(actual.sums, expected.sums)
