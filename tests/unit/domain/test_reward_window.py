from datetime import timedelta

import pytest

from bandit.domain.errors import InvalidInput
from bandit.domain.objective import Objective
from bandit.domain.policy import PolicySettings
from bandit.domain.reward_window import Deadline, RewardWindow, deadlines_of
from tests.builders import NOW, a_decision, a_policy

QUALITY, COST, LATENCY = Objective


@pytest.mark.parametrize("hours", [0.0, -1.0, float("nan"), float("inf"), 8785.0])
def test_a_window_is_some_time_and_at_most_a_year(hours):
    with pytest.raises(InvalidInput, match="window_hours"):
        RewardWindow(hours)


@pytest.mark.parametrize(
    ("objective", "default"),
    [
        (QUALITY, -0.1),
        (QUALITY, 1.1),
        (QUALITY, float("nan")),
        (COST, -0.01),
        (COST, float("inf")),
        (LATENCY, 0.0),
        (LATENCY, float("nan")),
    ],
)
def test_a_default_that_could_not_be_reported_is_refused(objective, default):
    with pytest.raises(InvalidInput) as refusal:
        PolicySettings(reward_windows={objective: RewardWindow(1, default)})

    assert refusal.value.field == f"settings.reward_windows[{objective.label}].default_value"


def test_the_ends_of_what_could_be_reported_may_be_defaults():
    ends = [(QUALITY, 0.0), (QUALITY, 1.0), (COST, 0.0), (LATENCY, 1e-9)]

    for objective, default in ends:
        PolicySettings(reward_windows={objective: RewardWindow(8784, default)})


def test_a_window_of_what_is_not_learned_is_refused():
    with pytest.raises(InvalidInput, match="not learned"):
        PolicySettings(objectives=(QUALITY, COST), reward_windows={LATENCY: RewardWindow(1)})


def test_the_longest_window_is_that_of_any_objective():
    windows = {QUALITY: RewardWindow(24, 0.5), COST: RewardWindow(36)}

    assert PolicySettings(reward_windows=windows).longest_window == timedelta(hours=36)
    assert PolicySettings().longest_window == timedelta(0)


def test_a_window_counts_from_the_decision():
    windows = {COST: RewardWindow(0.5), QUALITY: RewardWindow(24, 0.25)}

    deadlines = deadlines_of(windows, NOW)

    assert deadlines == {
        QUALITY: Deadline(NOW + timedelta(hours=24), 0.25),
        COST: Deadline(NOW + timedelta(minutes=30)),
    }


def test_only_heads_with_a_default_are_held_until_their_window_closes():
    deadlines = {QUALITY: Deadline(NOW, 0.0), COST: Deadline(NOW)}

    assert a_decision(a_policy(), deadlines=deadlines).held_until == {QUALITY: NOW}
