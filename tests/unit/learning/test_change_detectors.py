import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandit.domain.objective import HEADS, Objective
from bandit.domain.policy import Detector
from bandit.learning.alarms import Direction
from bandit.learning.drift import FURTHEST, Cusum, detector_of, standardised
from bandit.learning.river_drift import LONGEST_MEMORY, RiverDetector, _adwin, _page_hinkley

COST, LATENCY, QUALITY = Objective.COST, Objective.LATENCY, Objective.QUALITY
KINDS = [kind for kind in Detector if kind is not Detector.OFF]
residuals = st.lists(st.floats(-FURTHEST, FURTHEST), max_size=60)


def findings(detector, stream, *, memory=()):
    """What was found, with how many residuals had been seen; and the memory left."""
    found = []
    for position, residual in enumerate(stream, start=1):
        memory, finding = detector.observe(memory, residual)
        if finding is not None:
            found.append((position, finding))
    return found, memory


def gaussian(count, *, mean=0.0, seed=0):
    stream = np.random.default_rng(seed).normal(mean, 1.0, count)
    return np.clip(stream, -FURTHEST, FURTHEST).tolist()


def test_five_residuals_of_three_pass_a_threshold_of_twelve():
    """Each adds 3 - 0.5: after four 10, after five 12.5."""
    detector = Cusum(slack=0.5, threshold=12.0)

    found, memory = findings(detector, [3.0] * 5)

    assert [(n, it.direction, it.statistic) for n, it in found] == [(5, Direction.UP, 12.5)]
    assert memory == ()


def test_a_fall_is_found_as_soon_as_a_rise():
    found, _ = findings(Cusum(slack=0.5, threshold=12.0), [-3.0] * 5)

    assert [(n, it.direction) for n, it in found] == [(5, Direction.DOWN)]


@given(stream=residuals)
def test_the_sums_are_the_greatest_over_all_beginnings(stream):
    """g+ = max(0, max over j of the sum of z - slack since j), and g- of -z; Page (1954)."""
    _, memory = findings(Cusum(slack=0.5, threshold=math.inf), stream)

    tails = [stream[start:] for start in range(len(stream))]
    up = max([0.0, *(sum(z - 0.5 for z in tail) for tail in tails)])
    down = max([0.0, *(sum(-z - 0.5 for z in tail) for tail in tails)])
    assert memory == (pytest.approx((up, down)) if stream else ())


@pytest.mark.parametrize("objective", HEADS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_change_of_two_deviations_is_found_within_40_outcomes(kind, objective):
    detector = detector_of(kind, objective)
    for seed, mean in itertools.product(range(10), (-2.0, 2.0)):
        before, memory = findings(detector, gaussian(100, seed=seed))

        after, _ = findings(detector, gaussian(40, mean=mean, seed=seed + 100), memory=memory)

        assert before == []
        assert after[0][1].direction is (Direction.UP if mean > 0 else Direction.DOWN)


@pytest.mark.parametrize("objective", HEADS)
@pytest.mark.parametrize("kind", KINDS)
def test_where_nothing_changes_hardly_anything_is_found(kind, objective):
    """At most 0.3 per thousand outcomes."""
    found, _ = findings(detector_of(kind, objective), gaussian(10_000, seed=5))

    assert len(found) <= 3


def test_nothing_watches_where_it_is_off():
    assert detector_of(Detector.OFF, QUALITY) is None


@pytest.mark.parametrize("make", [_page_hinkley, _adwin])
@settings(deadline=None, max_examples=30)
@given(stream=residuals, shift=st.floats(-3, 3), cut=st.integers(0, 120))
def test_another_learner_goes_on_where_the_first_stopped(make, stream, shift, cut):
    stream = stream + [max(-FURTHEST, min(FURTHEST, z + shift)) for z in stream]
    whole, left = findings(RiverDetector(make), stream)

    first, memory = findings(RiverDetector(make), stream[:cut])
    second, left_again = findings(RiverDetector(make), stream[cut:], memory=memory)

    resumed = [*first, *((cut + position, finding) for position, finding in second)]
    assert (resumed, left_again) == (whole, left)


@pytest.mark.parametrize("make", [_page_hinkley, _adwin])
def test_no_more_than_so_many_residuals_are_kept(make):
    """One that forgets and one that is made anew from what is left find the same."""
    stream = [0.01 * (-1) ** n for n in range(2 * LONGEST_MEMORY)] + [2.5] * 60
    memory, detector = (), RiverDetector(make)
    longest, found, found_afresh = 0, [], []

    for residual in stream:
        afresh = RiverDetector(make).observe(memory, residual)[1] if residual > 1 else None
        memory, finding = detector.observe(memory, residual)
        longest = max(longest, len(memory))
        found.append(finding)
        found_afresh.append(afresh)

    assert longest == LONGEST_MEMORY
    assert any(found)
    assert [f for f in found if f] == [f for f in found_afresh if f]


def test_the_residual_of_a_quality_worked_out_by_hand():
    """sigma^2 = 0.03 and v = 0.1^2: (0.5 - 0.9) / sqrt(0.04)."""
    z = standardised(QUALITY, 0.5, expected=0.9, deviation=0.1, noise=0.03)

    assert z == pytest.approx(-2.0)


@pytest.mark.parametrize("objective", [COST, LATENCY])
def test_the_residual_of_a_log_normal_is_that_of_its_logarithm(objective):
    """The mean is exp(m + sigma^2 / 2): an outcome of exp(m + 0.5) is half a unit off."""
    m, noise, v = math.log(3.0), 0.16, 0.09
    mean = math.exp(m + noise / 2)

    z = standardised(objective, math.exp(m + 0.5), expected=mean, deviation=0.3 * mean, noise=noise)

    assert z == pytest.approx(0.5 / math.sqrt(noise + v))


@pytest.mark.parametrize(("value", "z"), [(0.0, -FURTHEST), (1e9, FURTHEST)])
def test_one_odd_outcome_counts_three_deviations_at_most(value, z):
    assert standardised(COST, value, expected=1.0, deviation=0.1, noise=0.1) == z


@pytest.mark.parametrize("expected", [math.nan, 0.0, -1.0])
def test_an_expectation_that_there_was_not_has_no_residual(expected):
    assert standardised(COST, 0.5, expected=expected, deviation=0.1, noise=0.1) is None


def test_a_quality_that_was_not_expected_has_no_residual():
    assert standardised(QUALITY, 0.5, expected=math.nan, deviation=0.1, noise=0.1) is None
