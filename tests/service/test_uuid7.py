"""Ids made here are UUIDv7, and the domain reads their moment back."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from bandit.domain.decision import made_at
from services.router.uuid7 import uuid7


@given(
    at=st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1)),
    random=st.binary(min_size=10, max_size=10),
)
def test_the_moment_and_the_version_can_be_read_back(at: datetime, random: bytes) -> None:
    at = at.replace(tzinfo=UTC)

    made = uuid7(at, random)

    assert made.version == 7
    born = made_at(made)
    assert born is not None
    assert timedelta() <= at - born < timedelta(milliseconds=1)


def test_the_example_of_the_standard() -> None:
    """RFC 9562, appendix A.6."""
    drawn = (0xCC3 << 68) | 0x18C4DC0C0C07398F

    made = uuid7(datetime(2022, 2, 22, 19, 22, 22, tzinfo=UTC), drawn.to_bytes(10, "big"))

    assert str(made) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"
