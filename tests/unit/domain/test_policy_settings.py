import math
from dataclasses import replace

import pytest

from bandit.domain.arm import Arm, ArmStatus
from bandit.domain.errors import InvalidInput, UnknownArm
from bandit.domain.label_rule import LabelRule
from bandit.domain.objective import HEADS, Objective
from bandit.domain.policy import (
    ContextSettings,
    ContextSource,
    NamedFeature,
    PolicySettings,
)
from bandit.domain.preference import Preference, WillingnessToPay
from tests.builders import a_policy, an_arm

OUTSIDE_0_TO_100 = (math.nan, math.inf, -0.1, 100.1)
POSITIVE = (math.nan, math.inf, 0.0, -0.1)
LATENCY_MATTERS = Preference(quality=1, latency=1)
THRIFTY = Preference(quality=0.4, cost=0.6)


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        *[("temperature", {"temperature": value}) for value in OUTSIDE_0_TO_100],
        *[("alpha", {"alpha": value}) for value in OUTSIDE_0_TO_100],
        *[("epsilon", {"epsilon": value}) for value in (math.nan, -0.01, 1.01)],
        *[("quality_prior_mean", {"quality_prior_mean": v}) for v in (math.nan, -0.1, 2.1)],
        *[
            ("half_life_hours.cost", {"half_life_hours": {Objective.COST: value}})
            for value in POSITIVE
        ],
        ("objectives", {"objectives": ()}),
        ("objectives", {"objectives": (Objective.QUALITY, Objective.QUALITY)}),
        ("objectives", {"objectives": (Objective.COST, Objective.LATENCY)}),
        (
            "default_preference.cost",
            {"objectives": (Objective.QUALITY,), "default_preference": Preference(0.5, 0.5)},
        ),
        (
            "default_preference.latency",
            {
                "objectives": (Objective.QUALITY, Objective.COST),
                "default_preference": LATENCY_MATTERS,
            },
        ),
        *[(f"profiles[{name}]", {"profiles": {name: THRIFTY}}) for name in ("", " x", "x" * 201)],
        ("profiles", {"profiles": {str(number): THRIFTY for number in range(65)}}),
        (
            "profiles[fast]",
            {
                "objectives": (Objective.QUALITY, Objective.COST),
                "profiles": {"fast": LATENCY_MATTERS},
            },
        ),
        (
            "profiles[rich]",
            {
                "objectives": (Objective.QUALITY,),
                "default_preference": Preference(quality=1),
                "profiles": {"rich": WillingnessToPay(1.0)},
            },
        ),
        ("rules", {"rules": (LabelRule("pii", "yes", ("small",)),) * 65}),
    ],
)
def test_settings_that_cannot_be_are_refused_by_field(field, settings):
    with pytest.raises(InvalidInput) as refusal:
        PolicySettings(**settings)

    assert refusal.value.field == f"settings.{field}"


def test_the_ends_of_each_range_are_allowed():
    ends = [
        {"temperature": 0.0, "alpha": 0.0, "epsilon": 0.0},
        {"epsilon": 1.0, "quality_prior_mean": 2.0, "temperature": 100.0},
        {"half_life_hours": {Objective.COST: 1e-9}},
    ]

    made = [PolicySettings(**settings) for settings in ends]

    assert [settings.epsilon for settings in made] == [0.0, 1.0, 0.05]


def test_profiles_cannot_be_changed_from_outside():
    given = {"thrifty": THRIFTY}
    settings = PolicySettings(profiles=given)

    given["thrifty"] = LATENCY_MATTERS

    assert settings.profiles == {"thrifty": THRIFTY}
    with pytest.raises(TypeError):
        settings.profiles["thrifty"] = LATENCY_MATTERS


def test_objectives_stand_in_the_order_of_the_heads():
    shuffled = (Objective.LATENCY, Objective.QUALITY, Objective.COST)

    settings = PolicySettings(objectives=shuffled)

    assert settings.objectives == HEADS


def test_half_lives_cannot_be_changed_from_outside():
    hours = {Objective.QUALITY: 24.0}
    settings = PolicySettings(half_life_hours=hours)

    hours[Objective.QUALITY] = 1.0

    assert settings.half_life_hours == {Objective.QUALITY: 24.0}
    with pytest.raises(TypeError):
        settings.half_life_hours[Objective.QUALITY] = 1.0


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("context.vector.length", {"source": ContextSource.VECTOR}),
        ("context.vector.length", {"source": ContextSource.VECTOR, "vector_length": 8193}),
        ("context.vector.length", {"source": ContextSource.TEXT, "vector_length": 3}),
        ("context.vector.length", {"source": ContextSource.NONE, "vector_length": 3}),
        ("features", {"named": tuple(NamedFeature(f"f{i}") for i in range(65))}),
        ("features.name", {"named": (NamedFeature("tools"), NamedFeature("tools", mean=1.0))}),
    ],
)
def test_a_context_that_cannot_be_is_refused_by_field(field, settings):
    with pytest.raises(InvalidInput) as refusal:
        ContextSettings(**settings)

    assert refusal.value.field == f"settings.{field}"


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        *[("name", {"name": name}) for name in ("", " blank", "line\nbreak", "x" * 201)],
        *[("mean", {"mean": value}) for value in (math.nan, math.inf)],
        *[("deviation", {"deviation": value}) for value in POSITIVE],
    ],
)
def test_a_named_feature_that_cannot_be_standardised_is_refused_by_field(field, changes):
    with pytest.raises(InvalidInput) as refusal:
        NamedFeature(**{"name": "tools", **changes})

    assert refusal.value.field == f"settings.features.{field}"


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("policy.name", {"name": ""}),
        ("key", {"key": b"short"}),
        ("arms", {"arms": tuple(an_arm(f"arm-{i}") for i in range(257))}),
        ("arms.name", {"arms": (an_arm("twin"), an_arm("twin"))}),
    ],
)
def test_a_policy_that_cannot_be_is_refused_by_field(field, changes):
    policy = a_policy()

    with pytest.raises(InvalidInput) as refusal:
        replace(policy, **changes)

    assert refusal.value.field == field


def test_a_rule_names_arms_that_the_policy_has_or_had():
    rules = (LabelRule("pii", "yes", ("small", "old")), LabelRule("pii", "no", ("small", "other")))
    arms = (an_arm("small"), an_arm("old", status=ArmStatus.RETIRED))

    with pytest.raises(InvalidInput) as refusal:
        a_policy(arms=arms, settings=PolicySettings(rules=rules))

    assert refusal.value.field == "settings.rules[1].arms[1]"
    assert a_policy(arms=arms, settings=PolicySettings(rules=rules[:1])).settings.rules == rules[:1]


def test_the_name_of_a_retired_arm_is_free_again():
    retired, present = an_arm("small", status=ArmStatus.RETIRED), an_arm("small")

    policy = a_policy(arms=[retired, present])

    assert policy.present_arms == (present,)
    assert policy.arm_named("small") is present
    assert policy.arm(retired.id) is retired


def test_an_arm_that_the_policy_does_not_have_is_unknown():
    policy = a_policy()

    with pytest.raises(UnknownArm, match="'other'"):
        policy.arm_named("other")
    with pytest.raises(UnknownArm):
        policy.arm(an_arm().id)


@pytest.mark.parametrize("tokens", [0, -1])
def test_an_arm_must_take_some_tokens(tokens):
    with pytest.raises(InvalidInput) as refusal:
        Arm(id=an_arm().id, name="small", context_window_tokens=tokens)

    assert refusal.value.field == "arm.context_window_tokens"


def test_only_arms_in_explore_and_active_are_chosen():
    choosable = {status for status in ArmStatus if status.is_choosable}

    assert choosable == {ArmStatus.EXPLORE, ArmStatus.ACTIVE}
