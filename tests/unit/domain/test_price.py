import math
from datetime import timedelta

import pytest

from bandit.domain.errors import InvalidInput
from bandit.domain.policy import Range
from bandit.domain.price import LEAST_USD, Price, PriceVersion
from tests.builders import NOW, an_arm


def test_the_list_price_is_that_of_the_input_and_200_output_tokens():
    """(2.5 * 1000 + 10 * 200) / 1e6 + .001 = .0045 + .001."""
    price = Price(input_usd_per_million=2.5, output_usd_per_million=10.0, fee_usd=0.001)

    usd = price.list_usd(1000)

    assert usd == pytest.approx(0.0055, rel=1e-12)


def test_a_call_costs_its_tokens_and_the_fee():
    """(2.5 * 1000 + 10 * 50) / 1e6 + .001 = .003 + .001."""
    price = Price(input_usd_per_million=2.5, output_usd_per_million=10.0, fee_usd=0.001)

    usd = price.usd(1000, 50)

    assert usd == pytest.approx(0.004, rel=1e-12)


def test_a_free_call_has_a_list_price_with_a_logarithm():
    price = Price()

    usd, list_usd = price.usd(1000, 50), price.list_usd(1000)

    assert (usd, list_usd) == (0.0, LEAST_USD)


@pytest.mark.parametrize("name", ["input_usd_per_million", "output_usd_per_million", "fee_usd"])
@pytest.mark.parametrize("usd", [math.nan, math.inf, -1e-12, 1.1e9])
def test_a_price_beyond_its_range_is_refused_by_name(name, usd):
    with pytest.raises(InvalidInput) as refusal:
        Price(**{name: usd})

    assert refusal.value.field == f"price.{name}"


def test_the_price_in_force_is_the_last_that_has_begun():
    before, today, later = Price(1.0), Price(2.0), Price(3.0)
    arm = an_arm(price=None)
    moments = [NOW - timedelta(days=1), NOW, NOW + timedelta(days=1)]
    versions = tuple(map(PriceVersion, moments, (before, today, later)))
    priced = type(arm)(id=arm.id, name=arm.name, prices=versions)

    in_force = [priced.price_at(NOW + timedelta(hours=hours)) for hours in (-25, -24, -1, 0, 25)]

    assert in_force == [None, before, before, today, later]


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (0.0, 1.0),
        (-1.0, 1.0),
        (1e-13, 1.0),
        (1.0, 1.0),
        (2.0, 1.0),
        (1.0, 1e13),
        (1.0, math.inf),
        (math.nan, 1.0),
    ],
)
def test_a_range_must_rise_from_above_zero_to_something_finite(low, high):
    with pytest.raises(InvalidInput) as refusal:
        Range(low, high)

    assert refusal.value.field == "range"
