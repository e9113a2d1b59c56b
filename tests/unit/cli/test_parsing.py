"""The small notations of the command line."""

from collections.abc import Callable

import pytest

from bandit.client import Arm
from bandit.domain.errors import InvalidInput
from bandit.domain.objective import Objective
from bandit.domain.policy import NamedFeature, Range
from bandit.domain.preference import Preference
from bandit.domain.price import Price
from services.cli import parsing


@pytest.mark.parametrize(
    ("text", "arm"),
    [
        ("small", Arm("small")),
        ("small=0.1,0.4", Arm("small", price=Price(0.1, 0.4))),
        ("search=0,0,0.001", Arm("search", price=Price(fee_usd=0.001))),
        ("openai/gpt=4o=2.5,10", Arm("openai/gpt=4o", price=Price(2.5, 10))),
    ],
)
def test_an_arm_is_a_name_and_perhaps_a_price(text: str, arm: Arm):
    assert parsing.arm(text) == arm


def test_a_preference_is_weights_by_name():
    assert parsing.preference("quality=4,cost=1") == Preference(quality=0.8, cost=0.2)


def test_a_feature_is_a_name_and_perhaps_what_is_usual():
    assert parsing.feature("age") == NamedFeature("age")
    assert parsing.feature("age=40,12") == NamedFeature("age", 40, 12)


def test_the_rest_is_what_it_looks_like():
    assert parsing.range_of("--cost-range", "1e-4,0.1") == Range(1e-4, 0.1)
    assert parsing.objectives("quality, cost") == (Objective.QUALITY, Objective.COST)
    assert parsing.half_lives("cost=24") == {Objective.COST: 24.0}
    assert parsing.vector("0.5,-1,2e3") == [0.5, -1.0, 2000.0]
    assert parsing.feature_values(["age=4", "size=0.5"]) == {"age": 4.0, "size": 0.5}
    assert parsing.labels(["team=a=b"]) == {"team": "a=b"}


@pytest.mark.parametrize(
    ("parse", "text", "field"),
    [
        (parsing.arm, "small=1", "--arm small"),
        (parsing.arm, "small=1,x", "--arm small"),
        (parsing.arm, "small=1,2,3,4", "--arm small"),
        (parsing.arm, "small=1,-2", "price.output_usd_per_million"),
        (parsing.preference, "quality", "--preference"),
        (parsing.preference, "speed=1", "--preference"),
        (parsing.preference, "cost=1,cost=2", "--preference"),
        (parsing.preference, "cost=much", "--preference cost"),
        (parsing.preference, "cost=nan", "preference.cost"),
        (parsing.objectives, "quality,speed", "--objectives"),
        (parsing.feature, "age=1", "--feature age"),
        (parsing.vector, "1,,2", "--vector"),
        (lambda text: parsing.range_of("--cost-range", text), "2,1", "--cost-range"),
        (lambda text: parsing.labels([text]), "team", "--label"),
    ],
)
def test_nonsense_is_refused_by_the_name_of_the_option(
    parse: Callable[[str], object], text: str, field: str
):
    with pytest.raises(InvalidInput) as refusal:
        parse(text)

    assert refusal.value.field == field
