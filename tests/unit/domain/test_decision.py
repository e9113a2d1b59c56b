from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandit.domain.arm import arm_bits, arm_from_bits
from bandit.domain.decision import CANDIDATE, EPOCH, NO_DAY, day_of, made_at, row_of
from bandit.domain.errors import InvalidInput
from tests.builders import a_decision, a_policy, a_uuid7, an_arm


def a_uuid(version, *, milliseconds=0):
    """A UUID of that version whose first 48 bits are that number."""
    return UUID(int=(milliseconds << 80) | (version << 76) | (0b10 << 62))


def milliseconds_until(moment):
    return (moment - EPOCH) // timedelta(milliseconds=1)


def test_a_uuid7_is_kept_under_its_utc_day():
    just_before_midnight = datetime(2026, 3, 2, 23, 59, 59, 999_000, tzinfo=UTC)
    decision_id = a_uuid7(just_before_midnight)

    day, moment = day_of(decision_id), made_at(decision_id)

    assert day == date(2026, 3, 2)
    assert moment == just_before_midnight


@settings(deadline=None, max_examples=100)
@given(moment=st.datetimes(datetime(1970, 1, 1), datetime(8999, 12, 31)))
def test_the_day_is_that_of_the_moment_written_into_the_id(moment):
    written = moment.replace(tzinfo=UTC)
    decision_id = a_uuid(7, milliseconds=milliseconds_until(written))

    assert day_of(decision_id) == written.date()
    assert made_at(decision_id) == written.replace(microsecond=moment.microsecond // 1000 * 1000)


@pytest.mark.parametrize("version", [1, 3, 4, 5, 6, 8])
def test_any_other_uuid_has_no_moment_and_one_day(version):
    decision_id = a_uuid(version, milliseconds=milliseconds_until(datetime(2026, 3, 2, tzinfo=UTC)))

    assert decision_id.version == version
    assert made_at(decision_id) is None
    assert day_of(decision_id) == NO_DAY


@pytest.mark.parametrize(
    "milliseconds", [milliseconds_until(datetime(9000, 1, 1, tzinfo=UTC)), 2**48 - 1]
)
def test_a_day_too_far_in_the_future_is_refused(milliseconds):
    decision_id = a_uuid(7, milliseconds=milliseconds)

    assert made_at(decision_id) >= datetime(9000, 1, 1, tzinfo=UTC)
    with pytest.raises(InvalidInput, match="too far in the future") as refusal:
        day_of(decision_id)
    assert refusal.value.field == "decision_id"


@settings(deadline=None, max_examples=50)
@given(number=st.integers(0, 2**128 - 1))
def test_an_arms_id_survives_its_two_halves(number):
    arm_id = UUID(int=number)

    assert arm_from_bits(arm_bits(arm_id)) == arm_id


def test_the_chosen_candidate_is_that_of_the_chosen_arm():
    policy = a_policy(arms=[an_arm(name) for name in ("small", "middle", "large")])
    decision = a_decision(policy, arm=policy.arms[1], propensity=0.7)

    chosen = decision.chosen

    assert arm_from_bits(chosen["arm"]) == policy.arms[1].id
    assert chosen["propensity"] == 0.7


def test_an_arm_is_found_where_its_id_lies_and_not_across_two_others():
    """The second half of the first id and the first half of the second spell the third."""
    ids = [UUID(int=number) for number in (1 << 64 | 2, 3 << 64 | 4, 2 << 64 | 3)]
    candidates = np.zeros(3, dtype=CANDIDATE)
    candidates["arm"] = [arm_bits(arm_id) for arm_id in ids]

    assert [row_of(candidates, arm_id) for arm_id in ids] == [0, 1, 2]
    assert row_of(candidates[:2], ids[2]) == -1
    assert row_of(candidates, UUID(int=5)) == -1


def test_a_random_id_is_of_no_day():
    assert day_of(uuid4()) == NO_DAY
