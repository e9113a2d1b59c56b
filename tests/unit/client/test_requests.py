"""Messages made from a caller's arguments."""

import time
from datetime import UTC, datetime
from uuid import UUID

import pytest

from bandit.client import Arm, responses
from bandit.client.decision_ids import new_decision_id, uuid7
from bandit.client.requests import (
    arm_message,
    budget_message,
    outcome,
    query,
    settings_message,
    with_decision_id,
)
from bandit.domain.arm import ArmStatus
from bandit.domain.budget import Budget
from bandit.domain.decision import made_at
from bandit.domain.errors import InvalidInput
from bandit.domain.label_rule import LabelRule
from bandit.domain.objective import Objective
from bandit.domain.policy import (
    Algorithm,
    ContextSettings,
    ContextSource,
    CostForm,
    Detector,
    DriftSettings,
    NamedFeature,
    PolicySettings,
    Range,
    WhenOffline,
)
from bandit.domain.preference import Preference, WillingnessToPay
from bandit.domain.reward_window import RewardWindow
from bandit.wire import catalog_pb2

SETTINGS = settings_message(PolicySettings())


def test_what_is_not_given_is_absent():
    request = query("chat", text="hello")

    assert request.WhichOneof("query") == "text"
    assert request.WhichOneof("tradeoff") is None
    assert not any(request.HasField(f) for f in ("max_cost_usd", "min_quality", "input_tokens"))


def test_a_decision_is_deferred_if_it_is_asked_for_and_only_then():
    assert query("chat", text="hello", defer_activation=True).defer_activation
    assert not query("chat", text="hello").defer_activation


def test_a_limit_of_zero_is_a_limit():
    request = query("chat", text="", max_cost_usd=0.0, min_quality=0.0, input_tokens=0)

    assert request.WhichOneof("query") == "text"
    assert all(request.HasField(f) for f in ("max_cost_usd", "min_quality", "input_tokens"))


@pytest.mark.parametrize(
    "both",
    [
        {"text": "hello", "vector": [1.0]},
        {"preference": Preference(quality=1), "willingness_to_pay_usd": 0.1},
        {"preference": Preference(quality=1), "preference_profile": "best"},
        {"willingness_to_pay_usd": 0.1, "preference_profile": "best"},
    ],
)
def test_two_of_which_one_would_be_lost_are_refused(both: dict[str, object]):
    with pytest.raises(InvalidInput, match="not both"):
        query("chat", **both)


def test_an_id_is_made_once_and_the_callers_message_left_alone():
    request = query("chat", text="hello")

    sent = with_decision_id(request)

    assert request.decision_id == ""
    assert UUID(sent.decision_id).version == 7
    assert with_decision_id(sent) is sent


def test_an_id_tells_when_it_was_made():
    moment = datetime(2025, 5, 17, 12, 30, 0, 250_000, UTC)

    made = uuid7(int(moment.timestamp() * 1000), 2**74 - 1)

    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert made_at(made) == moment
    now = made_at(new_decision_id())
    assert now is not None
    assert abs(now.timestamp() - time.time()) < 1


def test_ids_of_one_moment_differ():
    assert len({uuid7(0, random) for random in (0, 1, 2**61, 2**62, 2**73)}) == 5


def test_the_moment_of_an_outcome_is_sent_in_utc():
    moment = datetime.fromisoformat("2025-05-17T12:30:00+02:00")

    request = outcome("chat", decision_id=UUID(int=7), arm="small", observed_at=moment)

    assert request.observed_at.ToDatetime(UTC) == moment


@pytest.mark.parametrize(
    "settings",
    [
        PolicySettings(),
        PolicySettings(
            algorithm=Algorithm.EPSILON_GREEDY,
            epsilon=0.0,
            context=ContextSettings(ContextSource.VECTOR, 12, (NamedFeature("age", 20.0, 5.0),)),
            objectives=(Objective.QUALITY, Objective.LATENCY),
            default_preference=Preference(quality=0.5, latency=0.5),
            cost_form=CostForm.CAPPED_LINEAR,
            cost_range=Range(0.001, 0.1),
            quality_prior_mean=0.0,
            half_life_hours={Objective.LATENCY: 24.0},
            profiles={"best": Preference(quality=1), "swift": Preference(quality=1, latency=1)},
            rules=(LabelRule("pii", "yes", ("a", "b")), LabelRule("pii", "", ("b",))),
        ),
        PolicySettings(profiles={"value": WillingnessToPay(0.02)}, explore_quota=0),
        PolicySettings(when_offline=WhenOffline.REFUSE),
        PolicySettings(drift=DriftSettings(Detector.ADWIN, Detector.OFF, Detector.PAGE_HINKLEY)),
        PolicySettings(context=ContextSettings(ContextSource.NONE)),
        PolicySettings(
            reward_windows={
                Objective.QUALITY: RewardWindow(24.0, 0.0),
                Objective.LATENCY: RewardWindow(0.5),
            }
        ),
    ],
)
def test_settings_come_back_as_they_were_sent(settings: PolicySettings):
    policy = catalog_pb2.Policy(name="chat", settings=settings_message(settings))

    assert responses.policy(policy).settings == settings


def test_an_arm_without_a_price_is_not_one_that_is_free():
    assert not arm_message(Arm("small")).HasField("price")


def test_what_trials_may_cost_comes_back_as_it_was_sent():
    new, old = ArmStatus.EXPLORE, ArmStatus.ACTIVE
    arms = [arm_message(Arm("a", new, explore_limit_usd=0.5)), arm_message(Arm("b", old))]

    policy = responses.policy(catalog_pb2.Policy(arms=arms, settings=SETTINGS))

    assert [arm.explore_limit_usd for arm in policy.arms] == [0.5, None]


@pytest.mark.parametrize(
    "budget",
    [
        Budget(target_usd=0.0005),
        Budget(quality_floor=0.0, window_hours=1.0),
        Budget(target_usd=0.01, limit_usd=25.0, window_hours=0.5),
    ],
)
def test_a_budget_comes_back_as_it_was_sent(budget: Budget):
    message = catalog_pb2.Policy(budget=budget_message(budget), settings=SETTINGS)

    assert responses.policy(message).budget == budget


def test_a_policy_without_a_budget_is_not_one_that_may_spend_nothing():
    assert responses.policy(catalog_pb2.Policy(settings=SETTINGS)).budget is None
    assert responses.budget_status(catalog_pb2.GetBudgetResponse()) is None


def test_what_was_not_measured_of_a_budget_is_none_and_not_zero():
    status = catalog_pb2.BudgetStatus(budget=budget_message(Budget(limit_usd=1.0)), decisions=3)

    read = responses.budget_status(catalog_pb2.GetBudgetResponse(status=status))

    assert read is not None
    assert (read.utilisation, read.overshoot_usd, read.window) == (None, None, None)
    assert (read.decisions, read.spent_usd) == (3, 0.0)
