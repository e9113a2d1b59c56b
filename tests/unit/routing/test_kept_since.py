"""How long the log is kept."""

from datetime import timedelta

import pytest

from bandit.domain.errors import RetentionTooShort
from bandit.routing import retention
from bandit.routing.retention import MARGIN, kept_since
from tests.builders import NOW, a_policy


def with_windows(monkeypatch, windows):
    """Policies with these longest windows."""
    by_settings = {}
    policies = []
    for name, window in windows.items():
        policy = a_policy(name)
        by_settings[id(policy.settings)] = window
        policies.append(policy)
    monkeypatch.setattr(retention, "_longest_window", lambda kept: by_settings[id(kept)])
    return policies


def test_what_is_older_than_the_retention_is_not_kept():
    assert kept_since(timedelta(days=30), [a_policy()], now=NOW) == NOW - timedelta(days=30)


def test_a_retention_of_the_longest_window_and_seven_days_is_just_enough(monkeypatch):
    policies = with_windows(monkeypatch, {"a": timedelta(days=1), "b": timedelta(days=20)})

    assert kept_since(timedelta(days=27), policies, now=NOW) == NOW - timedelta(days=27)


def test_a_shorter_one_is_refused_and_the_policy_and_the_setting_are_named(monkeypatch):
    policies = with_windows(monkeypatch, {"a": timedelta(days=1), "b": timedelta(days=20, hours=1)})

    with pytest.raises(RetentionTooShort) as raised:
        kept_since(timedelta(days=27), policies, now=NOW)

    assert raised.value.policy == "b"
    assert raised.value.least == timedelta(days=20, hours=1) + MARGIN
    assert "'b'" in str(raised.value)
    assert "retention_days: must be at least 28" in str(raised.value)
