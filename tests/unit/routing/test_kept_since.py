"""How long the log is kept."""

from datetime import timedelta

import pytest

from bandit.domain.errors import RetentionTooShort
from bandit.domain.objective import Objective
from bandit.domain.policy import PolicySettings
from bandit.domain.reward_window import RewardWindow
from bandit.routing.retention import MARGIN, kept_since
from tests.builders import A_CONTEXT, NOW, a_policy


def with_windows(**hours):
    """A policy per name, with a reward window of so many hours."""
    return [
        a_policy(
            name,
            settings=PolicySettings(
                context=A_CONTEXT, reward_windows={Objective.QUALITY: RewardWindow(hours=window)}
            ),
        )
        for name, window in hours.items()
    ]


def test_what_is_older_than_the_retention_is_not_kept():
    assert kept_since(timedelta(days=30), [a_policy()], now=NOW) == NOW - timedelta(days=30)


def test_a_retention_of_the_longest_window_and_seven_days_is_just_enough():
    policies = with_windows(a=24.0, b=20 * 24.0)

    assert kept_since(timedelta(days=27), policies, now=NOW) == NOW - timedelta(days=27)


def test_a_shorter_one_is_refused_and_the_policy_and_the_setting_are_named():
    policies = with_windows(a=24.0, b=20 * 24.0 + 1)

    with pytest.raises(RetentionTooShort) as raised:
        kept_since(timedelta(days=27), policies, now=NOW)

    assert raised.value.policy == "b"
    assert raised.value.least == timedelta(days=20, hours=1) + MARGIN
    assert "'b'" in str(raised.value)
    assert "retention_days: must be at least 28" in str(raised.value)
