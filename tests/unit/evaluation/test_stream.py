import math
from uuid import RFC_4122

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from bandit.domain.preference import Preference
from bandit.evaluation.stream import StreamSettings, decision_id, stream_of

FOR_QUALITY, THRIFTY = Preference(1.0), Preference(0.5, 0.5)
PLAIN = StreamSettings(tradeoffs=(FOR_QUALITY,))
MANY = 20_000


def arrays(stream):
    return stream.rows, stream.delays, stream.has_quality, np.array(stream.tradeoffs, object)


def test_the_same_seed_gives_the_same_stream_and_another_seed_another():
    wanted = StreamSettings(tradeoffs="random", delay=5.0, missing=0.3)

    first, again, other = (stream_of(200, wanted, seed=seed) for seed in (1, 1, 2))

    for one, two, three in zip(arrays(first), arrays(again), arrays(other), strict=True):
        assert_array_equal(one, two)
        assert (one != three).any()


def test_switching_one_thing_on_leaves_the_rest_as_it_was():
    plain = stream_of(200, PLAIN, seed=1)

    delayed = stream_of(200, StreamSettings(tradeoffs="random", delay=5.0, missing=0.3), seed=1)

    assert_array_equal(plain.rows, delayed.rows)


@settings(deadline=None, max_examples=50)
@given(queries=st.integers(1, 200), warmup=st.integers(0, 200), seed=st.integers(0, 2**32 - 1))
def test_every_row_is_played_once_and_those_of_the_warmup_first(queries, warmup, seed):
    warmup = min(warmup, queries)

    stream = stream_of(queries, PLAIN, seed=seed, warmup=warmup)

    assert sorted(stream.rows) == list(range(queries))
    assert set(stream.rows[:warmup]) == set(range(warmup))
    assert stream.learn_first == warmup


def test_rows_can_be_played_as_recorded():
    recorded = StreamSettings(tradeoffs=(FOR_QUALITY,), order="recorded", learn_first=3)

    stream = stream_of(10, recorded, seed=1, warmup=2)

    assert_array_equal(stream.rows, np.arange(10))
    assert stream.learn_first == 5


def test_several_preferences_are_taken_in_turn():
    stream = stream_of(5, StreamSettings(tradeoffs=(FOR_QUALITY, THRIFTY)), seed=1)

    assert stream.tradeoffs == (FOR_QUALITY, THRIFTY) * 2 + (FOR_QUALITY,)


def test_random_preferences_spread_evenly():
    """w_c uniform: mean 1/2, deviation sqrt(1/12); w of the simplex: mean 1/3, variance 1/18."""
    by_two = stream_of(MANY, StreamSettings(tradeoffs="random"), seed=1).tradeoffs
    by_three = stream_of(MANY, StreamSettings(tradeoffs="random3"), seed=1).tradeoffs

    costs = np.array([tradeoff.cost for tradeoff in by_two])
    weights = np.array([tradeoff.weights for tradeoff in by_three])
    assert abs(costs.mean() - 1 / 2) < 5 * math.sqrt(1 / 12 / MANY)
    assert all(tradeoff.latency == 0 for tradeoff in by_two)
    assert (np.abs(weights.mean(axis=0) - 1 / 3) < 5 * math.sqrt(1 / 18 / MANY)).all()


def test_without_delay_every_outcome_is_there_before_the_next_decision():
    stream = stream_of(100, PLAIN, seed=1)

    assert not stream.delays.any()
    assert stream.has_quality.all()


@pytest.mark.parametrize("delay", [0.5, 5.0, 50.0])
def test_delays_are_geometric_with_the_given_mean(delay):
    """From 0, mean m: variance m (m + 1), P(0) = 1 / (1 + m); 5 standard errors."""
    wanted = StreamSettings(tradeoffs=(FOR_QUALITY,), delay=delay)

    delays = stream_of(MANY, wanted, seed=1).delays

    none = 1 / (1 + delay)
    assert delays.min() == 0
    assert abs(delays.mean() - delay) < 5 * math.sqrt(delay * (delay + 1) / MANY)
    assert abs((delays == 0).mean() - none) < 5 * math.sqrt(none * (1 - none) / MANY)


@pytest.mark.parametrize("missing", [0.0, 0.3, 1.0])
def test_the_share_of_missing_qualities_is_the_given_one(missing):
    wanted = StreamSettings(tradeoffs=(FOR_QUALITY,), missing=missing)

    has_quality = stream_of(MANY, wanted, seed=1).has_quality

    limit = 5 * math.sqrt(missing * (1 - missing) / MANY)
    assert abs((1 - has_quality.mean()) - missing) <= limit


def test_decision_ids_are_uuids_of_version_8_of_their_own():
    ids = {decision_id(seed, position) for seed in range(5) for position in range(2_000)}

    assert len(ids) == 10_000
    assert {(id_.version, id_.variant) for id_ in ids} == {(8, RFC_4122)}
    assert decision_id(1, 2) == decision_id(1, 2)
