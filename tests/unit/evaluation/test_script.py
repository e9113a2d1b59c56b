import numpy as np
import pytest
from numpy.testing import assert_array_equal

from bandit.domain.errors import InvalidInput
from bandit.evaluation.script import (
    NO_SCRIPT,
    Change,
    Event,
    Script,
    check,
    conditions_of,
    script_of,
)

MODELS = ("google/Gemini-pro", "google/gemini-flash", "mistral", "mistral-large")


def test_three_words_make_an_event_and_part_of_a_name_will_do():
    script = script_of(
        [(600, "price", "PRO=0.1x"), (0, "quality", "flash=0.75"), (900, "remove", "large")], MODELS
    )

    assert script.events == (
        Event(0, Change.QUALITY, "google/gemini-flash", 0.75),
        Event(600, Change.PRICE, "google/Gemini-pro", 0.1),
        Event(900, Change.REMOVE, "mistral-large"),
    )
    assert script.positions == (0, 600, 900)
    assert str(script.events[1]) == "price google/Gemini-pro x0.1"


def test_a_whole_name_is_that_model_though_it_is_part_of_another():
    (event,) = script_of([(1, "remove", "mistral")], MODELS).events

    assert event.model == "mistral"


@pytest.mark.parametrize(
    ("triple", "problem"),
    [
        ((1, "colour", "mistral=2"), "'colour' is none of price, cost, quality, add, remove"),
        ((1, "price", "mistral"), "not MODEL=FACTOR"),
        ((1, "price", "mistral=cheap"), "'cheap' is not a factor"),
        ((1, "price", "mistral=0"), "a number above 0"),
        ((1, "cost", "mistral=-1x"), "a number above 0"),
        ((1, "cost", "mistral=nan"), "a number above 0"),
        ((1, "quality", "mistral=inf"), "a number above 0"),
        ((1, "add", "gemini"), "fits google/Gemini-pro, google/gemini-flash"),
        ((1, "add", "gpt"), "fits none of"),
        ((1, "add", ""), "fits none of"),
        ((-1, "add", "mistral"), "positions count from 0"),
    ],
)
def test_nonsense_is_refused(triple, problem):
    with pytest.raises(InvalidInput, match=problem):
        script_of([triple], MODELS)


@pytest.mark.parametrize(
    ("events", "problem"),
    [
        ([(5, Change.COST, 2.0), (5, Change.COST, 3.0)], "changes twice at 5"),
        ([(5, Change.ADD, 1.0), (5, Change.REMOVE, 1.0)], "changes twice at 5"),
        ([(5, Change.ADD, 1.0), (9, Change.ADD, 1.0)], "add 'mistral' at 9 is too late"),
        ([(5, Change.REMOVE, 1.0), (9, Change.REMOVE, 1.0)], "remove 'mistral' at 9"),
    ],
)
def test_events_that_contradict_each_other_are_refused(events, problem):
    with pytest.raises(InvalidInput, match=problem):
        Script(tuple(Event(at, change, "mistral", factor) for at, change, factor in events))


def test_what_cannot_be_played_is_refused():
    late = Script((Event(10, Change.QUALITY, "mistral", 0.5),))
    unpriced = Script((Event(1, Change.PRICE, "mistral", 0.5),))
    nobody = Script((Event(1, Change.REMOVE, "mistral"),))

    with pytest.raises(InvalidInput, match="10 is beyond the last of 10 decisions"):
        check(late, models=MODELS, priced=MODELS, measured=10)
    with pytest.raises(InvalidInput, match="no list price"):
        check(unpriced, models=MODELS, priced=(), measured=10)
    with pytest.raises(InvalidInput, match="no model is left at 1"):
        check(nobody, models=("mistral",), priced=(), measured=10)
    check(late, models=MODELS, priced=(), measured=11)


def test_a_factor_holds_until_the_next_of_its_kind():
    """Each is of what was recorded: .5 then 1 restores it, and price and cost go side by side."""
    events = [
        Event(10, Change.QUALITY, "mistral", 0.5),
        Event(10, Change.PRICE, "mistral", 2.0),
        Event(20, Change.COST, "mistral", 3.0),
        Event(30, Change.QUALITY, "mistral", 1.0),
    ]

    conditions = conditions_of(Script(tuple(events)), ("other", "mistral"))

    state = conditions.state_at(np.array([-5, 0, 9, 10, 19, 20, 30, 99]))
    assert_array_equal(conditions.quality[state, 1], [1, 1, 1, 0.5, 0.5, 0.5, 1, 1])
    assert_array_equal(conditions.price[state, 1], [1, 1, 1, 2, 2, 2, 2, 2])
    assert_array_equal(conditions.cost[state, 1], [1, 1, 1, 1, 1, 3, 3, 3])
    for factors in (conditions.quality, conditions.price, conditions.cost):
        assert_array_equal(factors[:, 0], 1)
    assert conditions.is_present.all()


def test_a_model_that_is_added_was_absent_before():
    events = (Event(3, Change.ADD, "b"), Event(7, Change.REMOVE, "b"), Event(9, Change.ADD, "b"))

    conditions = conditions_of(Script(events), ("a", "b"))

    state = conditions.state_at(np.array([-1, 0, 2, 3, 6, 7, 8, 9]))
    assert_array_equal(conditions.is_present[state, 1], [0, 0, 0, 1, 1, 0, 0, 1])
    assert conditions.is_present[:, 0].all()


def test_without_a_script_nothing_changes():
    conditions = conditions_of(NO_SCRIPT, ("a", "b"))

    assert len(conditions.positions) == 0
    assert_array_equal(conditions.state_at(np.array([-1, 0, 100])), 0)
    assert_array_equal(conditions.cost, [[1, 1]])
