"""No accepted request or setting bends a decision or takes long."""

import time

import numpy as np
import pytest

from bandit.domain.errors import InvalidInput, TooLarge
from bandit.domain.policy import MOST_ARMS, PolicySettings, Range
from bandit.domain.preference import WillingnessToPay
from bandit.domain.price import Price
from bandit.domain.query import LONGEST_TEXT, Query
from bandit.features.cues import READ_CHARACTERS, cues_of


@pytest.mark.parametrize("text", ["select " * 140_000, "return " * 140_000, "def a" * 200_000])
def test_no_text_takes_long_to_read(text):
    """Once quadratic on a long line: 20 minutes for the longest text."""
    started = time.process_time()

    cues_of(text[:LONGEST_TEXT])

    assert time.process_time() - started < 2


def test_the_length_is_counted_whole_though_only_a_part_is_read():
    text = "x" * READ_CHARACTERS + "?" + "y" * 1000

    cues = cues_of(text)

    assert cues[0] == np.log1p(len(text))
    assert cues[6] == 0


@pytest.mark.parametrize("name", ["allow_arms", "deny_arms"])
def test_a_list_of_arms_is_no_longer_than_a_policy_has_arms(name):
    with pytest.raises(TooLarge) as refused:
        Query(policy="p", **{name: ("a",) * (MOST_ARMS + 1)})

    assert refused.value.field == name


@pytest.mark.parametrize("usd", [1e-160, 1e-10, 1e10, float("inf"), float("nan"), 0.0, -1.0])
def test_a_worth_whose_square_is_not_finite_is_refused(usd):
    with pytest.raises(InvalidInput, match="willingness_to_pay_usd"):
        WillingnessToPay(usd)


@pytest.mark.parametrize(
    "settings",
    [{"temperature": 1e300}, {"alpha": 1e300}, {"quality_prior_mean": 1e300}],
    ids=lambda settings: next(iter(settings)),
)
def test_a_setting_that_overflows_is_refused(settings):
    with pytest.raises(InvalidInput, match=next(iter(settings))):
        PolicySettings(**settings)


def test_prices_and_ranges_stay_within_what_a_float_can_square():
    with pytest.raises(InvalidInput):
        Price(1e300)
    with pytest.raises(InvalidInput):
        Range(1e-300, 1.0)
