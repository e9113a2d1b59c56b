import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from bandit.learning.posterior import posterior_from, posterior_with_evidence
from bandit.learning.prior import Prior
from bandit.learning.stacking import (
    RESERVE,
    Alternative,
    context_weight,
    stacked,
    with_alternative,
)
from bandit.learning.sums import Evidence, folded, no_outcomes
from tests.builders import NOW

PRIOR = Prior(np.array([50.0, 50.0, 5.0]), 0.3, 10.0)


def outcomes(count, *, slope, noise, seed=0):
    """Contexts of two features and a bias, and targets that the first one moves."""
    random = np.random.default_rng(seed)
    contexts = np.column_stack([random.normal(size=(count, 2)), np.ones(count)])
    return contexts, 0.1 + slope * contexts[:, 0] + noise * random.normal(size=count)


def summed(contexts, targets):
    evidence = [Evidence(0, x, y, 1.0) for x, y in zip(contexts, targets, strict=True)]
    return folded([no_outcomes(contexts.shape[1], epoch=NOW)], evidence)[0]


def student_evidence(contexts, targets, prior):
    """
    The naive definition: the product of one-step-ahead Student densities, without the factors
    that depend on the number of outcomes and the shape alone (Murphy 2007, section 3).
    """
    precision, moment = np.diag(prior.precision), np.zeros(contexts.shape[1])
    shape, rate, total = prior.shape, prior.shape * prior.noise_deviation**2, 0.0
    for x, y in zip(contexts, targets, strict=True):
        spread = 1 + x @ np.linalg.solve(precision, x)
        error = y - x @ np.linalg.solve(precision, moment)
        after = rate + error**2 / (2 * spread)
        total += shape * math.log(rate) - (shape + 0.5) * math.log(after) - math.log(spread) / 2
        precision, moment = precision + np.outer(x, x), moment + x * y
        shape, rate = shape + 0.5, after
    return total


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 40))
def test_the_evidence_is_what_predicting_one_outcome_after_the_other_adds_up_to(seed, count):
    contexts, targets = outcomes(count, slope=0.3, noise=0.5, seed=seed)

    _, evidence = posterior_with_evidence(summed(contexts, targets), PRIOR)

    assert evidence == pytest.approx(student_evidence(contexts, targets, PRIOR), abs=1e-9)


def test_the_alternative_is_the_posterior_of_the_mean_alone():
    contexts, targets = outcomes(50, slope=0.3, noise=0.2)
    sums = summed(contexts, targets)
    bias_prior = Prior(np.array([5.0]), 0.3, 10.0)
    bias_sums = summed(contexts[:, -1:], targets)

    contextual, alternative = with_alternative(sums, PRIOR)

    constant = posterior_from(bias_sums, bias_prior)
    assert_allclose(contextual.mean, posterior_from(sums, PRIOR).mean)
    assert alternative.mean == pytest.approx(constant.mean[0])
    assert alternative.variance == pytest.approx(constant.covariance[0])
    assert alternative.noise == pytest.approx(constant.noise)
    gain = student_evidence(contexts, targets, PRIOR) - student_evidence(
        contexts[:, -1:], targets, bias_prior
    )
    assert alternative.gain == pytest.approx(gain)
    apart = contexts @ contextual.mean - constant.mean[0]
    assert alternative.distance == pytest.approx((apart**2).sum() / constant.noise)


def test_nothing_seen_is_no_reason_to_trust_context():
    _, alternative = with_alternative(no_outcomes(3, epoch=NOW), PRIOR)

    assert alternative.distance == 0.0
    assert context_weight([alternative, alternative]) == pytest.approx(0.0, abs=1e-12)


def test_the_weight_by_hand():
    """Gains 10 + 20, distances 40 + 60: (30 + 50) / (60 + 100) = .5; harmful context gets none."""

    def weight(*pairs):
        return context_weight(
            [Alternative(0.0, 0.02, 0.09, gain=gain, distance=apart) for gain, apart in pairs]
        )

    assert RESERVE == 60.0
    assert weight((10.0, 40.0), (20.0, 60.0)) == 0.5
    assert weight((-200.0, 40.0)) == 0.0
    assert weight((1e6, 40.0)) == 1.0


def test_context_that_tells_much_is_trusted_and_noise_is_not():
    """2,000 outcomes each: a slope of three deviations of the noise, and none."""
    telling = with_alternative(summed(*outcomes(2000, slope=0.6, noise=0.2)), PRIOR)[1]
    mute = with_alternative(summed(*outcomes(2000, slope=0.0, noise=0.2)), PRIOR)[1]

    assert context_weight([telling]) > 0.95
    assert context_weight([mute]) < 0.05


def test_the_stacked_prediction_lies_between_the_two_and_is_explored_by_its_mean():
    contextual, alternative = with_alternative(summed(*outcomes(60, slope=0.3, noise=0.2)), PRIOR)
    x = np.array([0.4, -1.0, 1.0])

    means, variances, noises = stacked([contextual] * 2, [alternative] * 2, 0.25)

    assert_allclose(means @ x, 0.25 * (contextual.mean @ x) + 0.75 * alternative.mean)
    assert_allclose(variances, 0.25 * contextual.covariance[-1] + 0.75 * alternative.variance)
    assert_allclose(noises, 0.25 * contextual.noise + 0.75 * alternative.noise)
    assert means.shape == (2, 3)
    assert variances.shape == noises.shape == (2,)
