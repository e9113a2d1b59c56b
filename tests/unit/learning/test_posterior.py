import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from bandit.domain.errors import CorruptPosterior
from bandit.learning.posterior import posterior_from
from bandit.learning.prior import Prior
from bandit.learning.sums import Evidence, Sums, folded, no_outcomes
from tests import naive
from tests.builders import NOW


def learned(contexts, targets, weights):
    """The sums over these outcomes."""
    evidence = [
        Evidence(0, np.asarray(context, float), float(target), float(weight))
        for context, target, weight in zip(contexts, targets, weights, strict=True)
    ]
    return folded([no_outcomes(len(contexts[0]), epoch=NOW)], evidence)[0]


def a_prior(precision, *, noise_deviation=0.5, shape=2.0):
    return Prior(np.asarray(precision, float), noise_deviation, shape)


def test_one_outcome_gives_the_posterior_worked_out_by_hand():
    """
    Prior precision 1, a0 = 2, sigma0 = .5; x = 2, y = 3: precision 1 + 4 = 5, mean 6 / 5,
    SSR = 9 - 6 * 1.2 = 1.8, noise (2 * .25 + .9) / (2 + .5) = .56, covariance .56 / 5.
    """
    sums = learned([[2.0]], [3.0], [1.0])

    posterior = posterior_from(sums, a_prior([1.0]))

    assert_allclose(posterior.mean, [1.2])
    assert posterior.noise == pytest.approx(0.56)
    assert_allclose(posterior.covariance, [0.56 / 5])
    assert posterior.weight == 1.0


def test_without_outcomes_the_posterior_is_the_prior():
    prior = a_prior([1.0, 4.0], noise_deviation=0.3)

    posterior = posterior_from(no_outcomes(2, epoch=NOW), prior)

    assert_allclose(posterior.mean, [0.0, 0.0])
    assert posterior.noise == pytest.approx(0.09)
    assert_allclose(posterior.covariance, [0.09, 0.0, 0.09 / 4])


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), features=st.integers(1, 12), outcomes=st.integers(0, 60))
def test_the_posterior_is_the_closed_form_with_ssr_in_its_long_form(seed, features, outcomes):
    random = np.random.default_rng(seed)
    x = random.normal(size=(outcomes, features))
    y, g = random.normal(size=outcomes), random.uniform(0.1, 2.0, size=outcomes)
    prior = a_prior(10 ** random.uniform(-1, 3, size=features))
    sums = learned(x, y, g) if outcomes else no_outcomes(features, epoch=NOW)

    posterior = posterior_from(sums, prior)

    prior_precision = np.diag(prior.precision)
    gram, moment, square = (x.T * g) @ x, (x.T * g) @ y, g @ y**2
    inverse = np.linalg.inv(prior_precision + gram)
    mean = inverse @ moment
    ssr = square - 2 * moment @ mean + mean @ gram @ mean + mean @ prior_precision @ mean
    noise = (2.0 * 0.25 + ssr / 2) / (2.0 + g.sum() / 2)
    assert_allclose(posterior.mean, mean, rtol=1e-8, atol=1e-10)
    assert posterior.noise == pytest.approx(noise, rel=1e-9)
    assert_allclose(posterior.covariance, naive.packed(noise * inverse), rtol=1e-8, atol=1e-12)


def test_sums_that_rounding_left_a_hair_below_zero_are_used():
    sums = Sums(np.array([1.0, 0.0, -1e-12, -1e-12]), 1, NOW)

    posterior = posterior_from(sums, a_prior([1.0]))

    assert np.isfinite(posterior.noise)


@pytest.mark.parametrize(
    "values",
    [
        [np.nan, 0.0, 0.0, 0.0],
        [1.0, np.inf, 0.0, 0.0],
        [1.0, 0.0, np.nan, 1.0],
        [-2.0, 0.0, 0.0, 0.0],
        [1.0, 0.0, -1.0, 1.0],
        [1.0, 0.0, 1.0, -1.0],
    ],
    ids=["gram", "moment", "square", "not definite", "negative square", "negative weight"],
)
def test_corrupt_sums_are_refused(values):
    sums = Sums(np.array(values), 1, NOW)

    with pytest.raises(CorruptPosterior):
        posterior_from(sums, a_prior([1.0]))


def test_a_posterior_cannot_be_written_to():
    posterior = posterior_from(no_outcomes(2, epoch=NOW), a_prior([1.0, 1.0]))

    assert not posterior.mean.flags.writeable
    assert not posterior.factor.flags.writeable


@pytest.mark.parametrize("features", [1, 3])
def test_sums_of_another_number_of_features_are_refused(features):
    with pytest.raises(CorruptPosterior, match=f"of {features} features, not of 2"):
        posterior_from(no_outcomes(features, epoch=NOW), a_prior([1.0, 1.0]))


def test_the_variance_of_the_bias_is_the_last_entry_of_the_covariance():
    sums = learned([[0.3, -1.0, 1.0], [1.2, 0.1, 1.0]], [0.4, -0.2], [1.0, 0.5])

    posterior = posterior_from(sums, a_prior([4.0, 2.0, 5.0]))

    assert posterior.bias_variance == pytest.approx(posterior.covariance[-1], rel=1e-12)
