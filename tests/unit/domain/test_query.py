import math

import numpy as np
import pytest

from bandit.domain.errors import InvalidInput, TooLarge
from bandit.domain.preference import Preference
from bandit.domain.query import Query


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("vector.values[1]", {"vector": np.array([0.0, np.nan, np.inf])}),
        ("vector.values[0]", {"vector": np.array([-np.inf])}),
        ("features[tools]", {"features": {"depth": 1.0, "tools": math.nan}}),
        *[
            (name, {name: limit})
            for name in ("max_cost_usd", "max_latency_ms")
            for limit in (math.nan, math.inf, -1e-9)
        ],
        *[("min_quality", {"min_quality": limit}) for limit in (math.nan, -0.1, 1.1)],
        *[
            ("switch_cost_usd[large]", {"switch_cost_usd": {"small": 0.0, "large": usd}})
            for usd in (math.nan, math.inf, -1e-9)
        ],
        (
            "preference_profile",
            {"preference_profile": "thrifty", "tradeoff": Preference(quality=1)},
        ),
        *[
            (name, {name: tokens})
            for name in ("input_tokens", "max_output_tokens")
            for tokens in (-1, 2**40 + 1)
        ],
    ],
)
def test_a_query_that_cannot_be_is_refused_by_field(field, changes):
    with pytest.raises(InvalidInput) as refusal:
        Query(policy="chat", **changes)

    assert refusal.value.field == field


@pytest.mark.parametrize(
    ("field", "limit", "actual", "changes"),
    [
        ("text", 1_000_000, 1_000_001, {"text": "x" * 1_000_001}),
        (
            "switch_cost_usd",
            256,
            257,
            {"switch_cost_usd": {str(number): 0.0 for number in range(257)}},
        ),
        ("labels", 32, 33, {"labels": {str(number): "" for number in range(33)}}),
        ("labels", 256, 257, {"labels": {"name": "x" * 257}}),
        ("labels", 256, 300, {"labels": {"n" * 300: "x"}}),
    ],
)
def test_a_query_beyond_a_limit_says_which_and_by_how_much(field, limit, actual, changes):
    with pytest.raises(TooLarge) as refusal:
        Query(policy="chat", **changes)

    assert (refusal.value.field, refusal.value.limit) == (field, limit)
    assert refusal.value.actual == actual


def test_limits_of_zero_are_limits():
    query = Query(policy="chat", max_cost_usd=0.0, max_latency_ms=0.0, min_quality=0.0)

    assert (query.max_cost_usd, query.max_latency_ms, query.min_quality) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("changes", "tokens"),
    [
        ({"text": "x" * 43}, 10),
        ({"text": "x" * 3}, 1),
        ({"text": ""}, 1),
        ({}, 1),
        ({"text": "x" * 43, "input_tokens": 7}, 7),
        ({"text": "x" * 43, "input_tokens": 0}, 0),
    ],
)
def test_input_tokens_are_the_callers_count_or_a_quarter_of_the_characters(changes, tokens):
    query = Query(policy="chat", **changes)

    assert query.expected_input_tokens == tokens
