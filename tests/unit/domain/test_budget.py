import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandit.domain.budget import (
    LEAST_WINDOW_HOURS,
    MOST_LIMIT_USD,
    MOST_TARGET_USD,
    MOST_WINDOW_HOURS,
    Account,
    Budget,
)
from bandit.domain.errors import InvalidInput
from tests.builders import NOW

moments = st.datetimes(
    datetime(1970, 1, 2),
    datetime(2200, 1, 1),
    timezones=st.just(UTC),
)
windows = st.floats(LEAST_WINDOW_HOURS, MOST_WINDOW_HOURS)


@pytest.mark.parametrize(
    ("field", "budget"),
    [
        ("budget", {}),
        ("budget", {"window_hours": 1.0}),
        ("budget.quality_floor", {"target_usd": 0.01, "quality_floor": 0.5}),
        ("budget.target_usd", {"target_usd": 0.0}),
        ("budget.target_usd", {"target_usd": math.nan}),
        ("budget.target_usd", {"target_usd": 2 * MOST_TARGET_USD}),
        ("budget.quality_floor", {"quality_floor": 1.1}),
        ("budget.quality_floor", {"quality_floor": math.nan}),
        ("budget.limit_usd", {"limit_usd": 0.0}),
        ("budget.limit_usd", {"limit_usd": math.inf}),
        ("budget.limit_usd", {"limit_usd": 2 * MOST_LIMIT_USD}),
        ("budget.window_hours", {"limit_usd": 1.0, "window_hours": 0.0}),
        ("budget.window_hours", {"limit_usd": 1.0, "window_hours": math.nan}),
        ("budget.window_hours", {"limit_usd": 1.0, "window_hours": 24 * 367.0}),
    ],
)
def test_a_budget_beyond_its_range_is_refused_by_name(field, budget):
    with pytest.raises(InvalidInput) as refusal:
        Budget(**budget)

    assert refusal.value.field == field


def test_a_limit_goes_with_a_target_or_a_floor_or_alone():
    with_target = Budget(target_usd=0.01, limit_usd=5.0)
    with_floor = Budget(quality_floor=0.8, limit_usd=5.0)
    alone = Budget(limit_usd=5.0)

    assert [with_target.is_paced, with_floor.is_paced, alone.is_paced] == [True, True, False]


def test_windows_of_24_hours_are_days():
    budget = Budget(limit_usd=1.0)

    start = budget.window_start(datetime(2026, 3, 2, 23, 59, 59, 999999, UTC))

    assert start == datetime(2026, 3, 2, tzinfo=UTC)
    assert budget.window_start(start) == start


@given(at=moments, window_hours=windows)
def test_a_moment_lies_in_its_window(at, window_hours):
    """To the microsecond and what a double loses of a moment in seconds."""
    budget = Budget(limit_usd=1.0, window_hours=window_hours)

    since_start = at - budget.window_start(at)

    slack = timedelta(microseconds=5)
    assert -slack <= since_start <= timedelta(hours=window_hours) + slack


@given(at=moments, window_hours=st.sampled_from([1 / 60, 0.5, 1.0, 6.0, 24.0, 168.0]))
def test_a_limit_has_one_name_in_a_window_and_another_in_the_next(at, window_hours):
    budget = Budget(limit_usd=1.0, window_hours=window_hours)
    start, length = budget.window_start(at), timedelta(hours=window_hours)
    last = start + length - timedelta(microseconds=100)

    assert budget.limit_name(at) == budget.limit_name(start) == budget.limit_name(last)
    assert budget.limit_name(start + length) != budget.limit_name(start)


def test_the_name_of_a_limit_does_not_depend_on_how_high_it_is_or_on_the_time_zone():
    low, high = Budget(limit_usd=1.0), Budget(target_usd=0.1, limit_usd=9.0)
    elsewhere = NOW.astimezone(timezone(timedelta(hours=9)))

    assert low.limit_name(NOW) == high.limit_name(elsewhere) == "limit:2026-03-02T00:00:00/24h"


def test_utilisation_and_overshoot_worked_out_by_hand():
    """4 decisions at a target of .01 may spend .04: .05 is 1.25 of it, and .01 above."""
    budget, account = Budget(target_usd=0.01), Account(-0.01, 4, 0.05)

    assert account.utilisation(budget) == pytest.approx(1.25)
    assert account.overshoot_usd(budget) == pytest.approx(0.01)
    assert Account(0.02, 4, 0.02).overshoot_usd(budget) == 0.0


def test_without_a_target_or_a_decision_there_is_no_utilisation():
    limited = Budget(limit_usd=1.0)

    assert Account().utilisation(Budget(target_usd=0.01)) is None
    assert Account(0.0, 4, 0.05).utilisation(limited) is None
    assert Account(0.0, 4, 0.05).overshoot_usd(limited) is None
