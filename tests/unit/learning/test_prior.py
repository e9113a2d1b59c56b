import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from bandit.domain.objective import HEADS, Objective
from bandit.domain.policy import ContextSettings, ContextSource, NamedFeature
from bandit.features.schema import schema_of
from bandit.kernels.scoring import score
from bandit.learning.posterior import posterior_from
from bandit.learning.prior import prior_of
from bandit.learning.sums import no_outcomes
from bandit.policies.estimates import estimates_from
from tests.builders import NOW

TEXT = schema_of(ContextSettings())


@pytest.mark.parametrize(
    ("objective", "embedding", "cues", "bias", "noise_deviation", "shape"),
    [
        (Objective.QUALITY, 1000, 100, 5, 0.3, 10),
        (Objective.COST, 50, 50, 1, 0.5, 5),
        (Objective.LATENCY, 50, 50, 1, 0.4, 5),
    ],
)
def test_each_head_has_its_declared_prior(objective, embedding, cues, bias, noise_deviation, shape):
    prior = prior_of(TEXT, objective)

    assert_array_equal(prior.precision, [embedding] * 24 + [cues] * 8 + [bias])
    assert (prior.noise_deviation, prior.shape) == (noise_deviation, shape)


def test_named_features_are_shrunk_like_cues():
    named = (NamedFeature("tools"),)
    schema = schema_of(ContextSettings(source=ContextSource.NONE, named=named))

    prior = prior_of(schema, Objective.QUALITY)

    assert_array_equal(prior.precision, [100, 5])


def test_the_cost_of_an_arm_without_a_price_is_left_to_its_own_outcomes():
    priors = [prior_of(TEXT, head, is_priced=False) for head in HEADS]

    assert [prior.precision[-1] for prior in priors] == [5, 0.01, 1]


def test_before_any_outcome_quality_is_the_prior_mean_and_cost_the_lists_expectation():
    """q = .9, c = list exp(.5^2 / 2), l = 1500 exp(.4^2 / 2); cost's median is the list price."""
    empty = no_outcomes(33, epoch=NOW)
    posteriors = [posterior_from(empty, prior_of(TEXT, head)) for head in HEADS]
    context = np.append(np.random.default_rng(0).uniform(-3, 3, size=32), 1.0)
    scores = score(
        np.stack([p.mean for p in posteriors])[None],
        np.stack([p.covariance for p in posteriors])[None],
        context,
    )

    estimates = estimates_from(
        scores,
        np.array([[p.noise for p in posteriors]]),
        np.array([0.002]),
        quality_prior_mean=0.9,
    )

    assert_allclose(estimates.quality, [0.9], rtol=1e-12)
    assert_allclose(estimates.cost_usd, [0.002 * math.exp(0.125)], rtol=1e-12)
    assert_allclose(estimates.latency_ms, [1500 * math.exp(0.08)], rtol=1e-12)
    shares = context**2 / prior_of(TEXT, Objective.QUALITY).precision
    assert_allclose(estimates.variance[0, 0], 0.09 * shares.sum(), rtol=1e-9)
