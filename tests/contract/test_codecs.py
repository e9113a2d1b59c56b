"""What is written is what is read: settings through jsonb, and sums through bytes."""

import json
import struct
import zlib
from datetime import timedelta

import numpy as np
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from bandit.domain.arm import LONGEST_NAME
from bandit.domain.errors import CorruptPosterior
from bandit.domain.objective import HEADS, Objective
from bandit.domain.policy import (
    MOST_EXPLORATION,
    MOST_OPTIMISM,
    Algorithm,
    ContextSettings,
    ContextSource,
    CostForm,
    NamedFeature,
    PolicySettings,
    Range,
)
from bandit.domain.preference import Preference
from bandit.learning.sums import Sums, packed_length
from bandit.store.postgres.codecs import settings_from, settings_json, sums_bytes, sums_from
from tests.builders import NOW
from tests.contract.comparing import assert_same_sums

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
    cost_range=st.none() | ranges,
    latency_range_ms=ranges,
    quality_prior_mean=st.floats(0, MOST_OPTIMISM),
    unpriced_list_usd=st.none() | positive,
    half_life_hours=st.dictionaries(st.sampled_from(HEADS), positive),
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
