"""The small notations of the command line."""

from collections.abc import Callable

import pytest

from bandit.client import Arm
from bandit.domain.budget import Budget
from bandit.domain.errors import InvalidInput
from bandit.domain.label_rule import LabelRule
from bandit.domain.objective import Objective
from bandit.domain.policy import Detector, DriftSettings, NamedFeature, Range
from bandit.domain.preference import Preference, WillingnessToPay
from bandit.domain.price import Price
from bandit.domain.reward_window import RewardWindow
from services.cli import parsing
from services.cli.replay_command import joined


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


def test_a_budget_is_what_its_options_say():
    options = {"target_usd": 0.0005, "quality_floor": None, "limit": 25.0, "window_hours": 12.0}

    assert parsing.budget(**options) == Budget(0.0005, None, 25.0, 12.0)


@pytest.mark.parametrize(
    ("changed", "option"),
    [
        ({"target_usd": None}, "--target-usd, --quality-floor or --limit"),
        ({"target_usd": float("nan")}, "--target-usd"),
        ({"quality_floor": 0.5}, "--quality-floor"),
        ({"limit": 0.0}, "--limit"),
        ({"window_hours": 0.0}, "--window-hours"),
    ],
)
def test_a_budget_that_cannot_be_is_refused_by_the_name_of_its_option(
    changed: dict[str, float | None], option: str
):
    options = {"target_usd": 0.0005, "quality_floor": None, "limit": None, "window_hours": 24.0}

    with pytest.raises(InvalidInput) as raised:
        parsing.budget(**(options | changed))

    assert raised.value.field == option


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
    assert parsing.switch_costs(["gpt=4o=0.01", "b=0"]) == {"gpt=4o": 0.01, "b": 0.0}


@pytest.mark.parametrize(
    ("text", "drift"),
    [
        ("", DriftSettings(cost=Detector.OFF)),
        ("adwin", DriftSettings(*[Detector.ADWIN] * 3)),
        ("quality=page-hinkley", DriftSettings(Detector.PAGE_HINKLEY, Detector.OFF)),
        ("cost=cusum, latency=off", DriftSettings(latency=Detector.OFF)),
    ],
)
def test_detectors_are_changed_for_all_or_for_some(text: str, drift: DriftSettings) -> None:
    assert parsing.drift(text, kept=DriftSettings(cost=Detector.OFF)) == drift


def test_profiles_are_added_replaced_and_taken_away():
    kept = {"best": Preference(quality=1), "old": Preference(cost=1)}
    texts = ["best=quality=4,cost=1", "value=0.02", "old="]

    profiles = parsing.profiles(texts, kept=kept)

    assert profiles == {
        "best": Preference(quality=0.8, cost=0.2),
        "value": WillingnessToPay(0.02),
    }


def test_rules_are_added_replaced_and_taken_away():
    kept = [LabelRule("pii", "yes", ("a",)), LabelRule("pii", "no", ("b",))]
    texts = ["pii=yes:meta/llama:free,b", "region=eu:b", "pii=no:"]

    rules = parsing.rules(texts, kept=kept)

    assert rules == (
        LabelRule("pii", "yes", ("meta/llama:free", "b")),
        LabelRule("region", "eu", ("b",)),
    )


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
        (lambda text: parsing.drift(text, kept=DriftSettings()), "often", "--drift"),
        (lambda text: parsing.drift(text, kept=DriftSettings()), "cost=often", "--drift"),
        (lambda text: parsing.drift(text, kept=DriftSettings()), "speed=off", "--drift"),
        (lambda text: parsing.profiles([text], kept={}), "best", "--profile"),
        (lambda text: parsing.profiles([text], kept={}), "best=", "--profile best"),
        (lambda text: parsing.profiles([text], kept={}), "best=much", "--profile best"),
        (lambda text: parsing.profiles([text], kept={}), "best=speed=1", "--profile best"),
        (lambda text: parsing.profiles([text], kept={}), "best=0", "willingness_to_pay_usd"),
        (lambda text: parsing.rules([text], kept=()), "pii", "--rule"),
        (lambda text: parsing.rules([text], kept=()), "pii=yes", "--rule"),
        (lambda text: parsing.rules([text], kept=()), "pii=yes:", "--rule pii=yes"),
        (lambda text: parsing.rules([text], kept=()), "pii=yes:a,a", "rule.arms[1]"),
        (lambda text: parsing.switch_costs([text]), "a", "--switch-cost"),
        (lambda text: parsing.switch_costs([text]), "a=b=much", "--switch-cost a=b"),
    ],
)
def test_nonsense_is_refused_by_the_name_of_the_option(
    parse: Callable[[str], object], text: str, field: str
):
    with pytest.raises(InvalidInput) as refusal:
        parse(text)

    assert refusal.value.field == field


def test_an_event_of_a_replay_is_three_words():
    assert parsing.script_event("600 price gemini=0.1x") == (600, "price", "gemini=0.1x")
    assert parsing.script_event("9 add a model") == (9, "add", "a model")


@pytest.mark.parametrize("text", ["", "600", "600 price", "soon price gemini=2"])
def test_an_event_that_is_not_three_words_is_refused(text: str):
    with pytest.raises(InvalidInput, match="POSITION WHAT WHICH"):
        parsing.script_event(text)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (["f", "--at", "6", "add", "b", "--json"], ["f", "--at", "6 add b", "--json"]),
        (
            ["--at", "6", "add", "b", "--at", "7", "cost", "b=2"],
            ["--at", "6 add b", "--at", "7 cost b=2"],
        ),
        (["--at", "6 add b", "f"], ["--at", "6 add b", "f"]),
        (["--at", "6"], ["--at", "6"]),
        (["--at"], ["--at"]),
    ],
)
def test_the_words_after_each_at_are_one_value(given: list[str], read: list[str]):
    assert joined(given) == read


def test_reward_windows_are_added_changed_and_taken_away():
    kept = {Objective.QUALITY: RewardWindow(24, 0.0), Objective.COST: RewardWindow(1)}

    made = parsing.reward_windows(["quality=48,0.5", "latency=2", "cost="], kept=kept)

    assert made == {Objective.QUALITY: RewardWindow(48, 0.5), Objective.LATENCY: RewardWindow(2)}


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("quality", "--reward-window"),
        ("speed=1", "--reward-window"),
        ("quality=0", "--reward-window quality"),
        ("quality=1,2", "--reward-window quality"),
        ("quality=1,0,0", "--reward-window quality"),
        ("latency=1,0", "--reward-window latency"),
        ("cost=soon", "--reward-window cost"),
        ("cost=", "--reward-window cost"),
    ],
)
def test_a_reward_window_that_cannot_be_is_refused_by_its_objective(text: str, option: str):
    with pytest.raises(InvalidInput) as raised:
        parsing.reward_windows([text], kept={})

    assert raised.value.field == option
