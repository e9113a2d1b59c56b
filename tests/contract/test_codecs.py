"""What is written is what is read: settings through jsonb, and sums through bytes."""

import json
import struct
import zlib
from datetime import UTC, timedelta

import numpy as np
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from bandit.domain.arm import LONGEST_NAME
from bandit.domain.budget import (
    LEAST_TARGET_USD,
    LEAST_WINDOW_HOURS,
    MOST_LIMIT_USD,
    MOST_TARGET_USD,
    MOST_WINDOW_HOURS,
    Budget,
    Charge,
)
from bandit.domain.errors import CorruptPosterior
from bandit.domain.label_rule import LabelRule
from bandit.domain.objective import HEADS, Objective
from bandit.domain.policy import (
    MOST_EXPLORATION,
    MOST_OPTIMISM,
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
from bandit.domain.preference import LEAST_WORTH_USD, MOST_WORTH_USD, Preference, WillingnessToPay
from bandit.domain.reward_window import MOST_WAITING_HOURS, Deadline, RewardWindow
from bandit.learning.sums import Sums, packed_length
from bandit.store.postgres.codecs import (
    budget_from,
    budget_json,
    decision_from,
    decision_row,
    memory_bytes,
    memory_from,
    settings_from,
    settings_json,
    sums_bytes,
    sums_from,
)
from tests.builders import NOW, a_decision, a_policy
from tests.contract.comparing import assert_same_decision, assert_same_sums

finite = st.floats(allow_nan=False, allow_infinity=False)
not_negative = st.floats(0, allow_infinity=False)
positive = st.floats(0, exclude_min=True, allow_infinity=False)
names = st.text(min_size=1, max_size=LONGEST_NAME).filter(
    lambda name: name.isprintable() and name == name.strip()
)
exploration = st.floats(0, MOST_EXPLORATION)
ends = st.floats(1e-12, 1e12)
ranges = (
    st.tuples(ends, ends)
    .filter(lambda ends: ends[0] != ends[1])
    .map(lambda ends: Range(*sorted(ends)))
)
named = st.lists(
    st.builds(NamedFeature, name=names, mean=finite, deviation=positive),
    max_size=4,
    unique_by=lambda feature: feature.name,
).map(tuple)
contexts = st.one_of(
    st.builds(ContextSettings, st.just(ContextSource.VECTOR), st.integers(1, 8192), named),
    st.builds(
        ContextSettings,
        st.sampled_from([ContextSource.TEXT, ContextSource.NONE]),
        st.just(0),
        named,
    ),
)
preferences = (
    st.tuples(not_negative, not_negative, not_negative)
    .filter(any)
    .map(lambda weights: Preference(*weights))
)
tradeoffs = preferences | st.floats(LEAST_WORTH_USD, MOST_WORTH_USD).map(WillingnessToPay)
storable = st.characters(exclude_categories=["Cs"], exclude_characters=["\0"])
windows = st.floats(LEAST_WINDOW_HOURS, MOST_WINDOW_HOURS)
limits = st.none() | st.floats(0, MOST_LIMIT_USD, exclude_min=True)
rules = st.builds(
    LabelRule,
    label=st.text(storable, min_size=1, max_size=256),
    value=st.text(storable, max_size=256),
    arms=st.lists(names, min_size=1, max_size=4, unique=True).map(tuple),
)
budgets = st.one_of(
    st.builds(Budget, target_usd=st.floats(LEAST_TARGET_USD, MOST_TARGET_USD), limit_usd=limits),
    st.builds(Budget, quality_floor=st.floats(0, 1), limit_usd=limits, window_hours=windows),
    st.builds(Budget, limit_usd=st.integers(1, 10**12), window_hours=windows),
)
charges = st.none() | st.builds(
    Charge,
    epoch=st.integers(0, 2**62),
    price=not_negative,
    balance=finite,
    utilisation=st.none() | not_negative,
    overshoot_usd=st.none() | not_negative,
    expected_usd=not_negative,
    reserved_usd=st.none() | not_negative,
    limit_name=st.none() | st.text(storable, min_size=1, max_size=50),
)


def reward_windows(most):
    return st.builds(
        RewardWindow,
        st.floats(0, MOST_WAITING_HOURS, exclude_min=True),
        st.none() | st.floats(1e-9, most) | st.just(1),
    )


moments = st.datetimes(timezones=st.just(UTC)).filter(lambda moment: moment.year > 1)
deadlines = st.dictionaries(
    st.sampled_from(HEADS), st.builds(Deadline, moments, st.none() | st.floats(0, 1e9))
)
policy_settings = st.builds(
    PolicySettings,
    algorithm=st.sampled_from(Algorithm),
    temperature=exploration,
    alpha=exploration,
    epsilon=st.floats(0, 1),
    context=contexts,
    objectives=st.just(HEADS),
    default_preference=preferences,
    cost_form=st.sampled_from(CostForm),
    when_offline=st.sampled_from(WhenOffline),
    cost_range=st.none() | ranges,
    latency_range_ms=ranges,
    quality_prior_mean=st.floats(0, MOST_OPTIMISM),
    unpriced_list_usd=st.none() | positive,
    half_life_hours=st.dictionaries(st.sampled_from(HEADS), positive),
    profiles=st.dictionaries(names, tradeoffs, max_size=4),
    rules=st.lists(rules, max_size=4).map(tuple),
    drift=st.builds(DriftSettings, *[st.sampled_from(Detector)] * 3),
    reward_windows=st.fixed_dictionaries(
        {},
        optional={
            head: reward_windows(most) for head, most in zip(HEADS, (1, 1e9, 1e9), strict=True)
        },
    ),
)


@given(kept=policy_settings)
def test_settings_survive_json(kept):
    assert settings_from(json.loads(json.dumps(settings_json(kept)))) == kept


def test_settings_survive_jsonb(module_database_url):
    with psycopg.connect(module_database_url, autocommit=True) as connection:

        @settings(max_examples=50, deadline=None)
        @given(kept=policy_settings)
        def survive(kept):
            query = "select %s::jsonb"
            (read,) = connection.execute(query, [Jsonb(settings_json(kept))]).fetchone()
            again = settings_from(read)
            assert again == kept
            assert isinstance(again.temperature, float)

        survive()


def test_two_heads_alone_survive():
    kept = PolicySettings(objectives=(Objective.COST, Objective.QUALITY))

    assert settings_from(settings_json(kept)) == kept


def test_settings_of_another_release_can_be_read():
    """Keys it added are passed over, and those it lacked have their defaults."""
    kept = settings_json(PolicySettings(temperature=0.7)) | {"invented_later": {"x": 1}}
    del kept["alpha"], kept["half_life_hours"]

    assert settings_from(kept) == PolicySettings(temperature=0.7)


@given(kept=budgets)
def test_a_budget_survives_json(kept):
    assert budget_from(json.loads(json.dumps(budget_json(kept)))) == kept


def test_no_budget_survives_and_keys_of_a_later_release_are_passed_over():
    kept = budget_json(Budget(target_usd=0.01)) | {"invented_later": {"x": 1}}

    assert budget_from(kept) == Budget(target_usd=0.01)
    assert budget_from(budget_json(None)) is None


@given(charge=charges)
def test_a_charge_survives_the_row_of_its_decision(charge):
    decision = a_decision(a_policy(), charge=charge)
    row = list(decision_row(decision))
    row[21] = json.loads(row[21])  # as the driver gives it

    again = decision_from(row)

    assert_same_decision(again, decision)


@given(deadlines=deadlines, is_deferred=st.booleans(), activated_at=st.none() | moments)
def test_windows_and_activation_survive_the_row_of_their_decision(
    deadlines, is_deferred, activated_at
):
    decision = a_decision(
        a_policy(), deadlines=deadlines, is_deferred=is_deferred, activated_at=activated_at
    )
    row = list(decision_row(decision))
    row[21] = json.loads(row[21])

    assert_same_decision(decision_from(row), decision)


def test_a_decision_from_before_windows_has_none_and_is_active():
    row = list(decision_row(a_decision(a_policy())))
    row[21] = json.loads(row[21])
    row[30:33] = [None, None, None]

    again = decision_from(row)

    assert again.is_active
    assert again.deadlines == {}


@given(memory=st.lists(st.floats(allow_nan=False)).map(tuple), data=st.data())
def test_a_detectors_memory_survives_or_begins_anew(memory, data):
    kept = memory_bytes(memory)
    bit = data.draw(st.integers(0, 8 * len(kept) - 1))
    flipped = bytearray(kept)
    flipped[bit // 8] ^= 1 << bit % 8

    assert memory_from(kept) == memory
    assert memory_from(bytes(flipped)) == memory_from(b"") == ()


@given(features=st.integers(1, 40), seed=st.integers(0, 100))
def test_sums_survive_bytes(features, seed):
    values = np.random.default_rng(seed).standard_normal(packed_length(features))
    sums = Sums(values=values, features=features, epoch=NOW + timedelta(microseconds=seed))

    assert_same_sums(sums_from(sums_bytes(sums), epoch=sums.epoch), sums)


@given(features=st.integers(1, 6), data=st.data())
def test_any_flipped_bit_is_found(features, data):
    sums = Sums(values=np.ones(packed_length(features)), features=features, epoch=NOW)
    kept = bytearray(sums_bytes(sums))
    position = data.draw(st.integers(0, len(kept) - 1))
    kept[position] ^= 1 << data.draw(st.integers(0, 7))

    with pytest.raises(CorruptPosterior):
        sums_from(bytes(kept), epoch=NOW)


@pytest.mark.parametrize("numbers", [0, 1, 3, 5, 6, 8])
def test_a_length_of_no_number_of_features_is_found(numbers):
    values = struct.pack(f"<{numbers}d", *[1.0] * numbers)
    kept = b"\x01" + struct.pack("<I", zlib.crc32(b"\x01" + values)) + values

    with pytest.raises(CorruptPosterior, match="length"):
        sums_from(kept, epoch=NOW)


def test_the_layout_is_as_documented():
    sums = Sums(values=np.arange(4.0), features=1, epoch=NOW)

    values = struct.pack("<4d", 0, 1, 2, 3)
    checksum = struct.pack("<I", zlib.crc32(b"\x01" + values))
    assert sums_bytes(sums) == b"\x01" + checksum + values
