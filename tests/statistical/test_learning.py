"""Does the learner learn?  Known coefficients and known best arms."""

import numpy as np
import pytest

from bandit.domain.objective import Objective
from bandit.domain.policy import Algorithm, ContextSettings, ContextSource, PolicySettings, Range
from bandit.domain.preference import Preference
from bandit.evaluation.in_process import table_contexts
from bandit.evaluation.regret import measured
from bandit.evaluation.runs import Trial, run
from bandit.evaluation.stream import StreamSettings
from bandit.evaluation.table import OutcomeTable
from bandit.features.schema import schema_of
from bandit.learning.posterior import posterior_from
from bandit.learning.prior import prior_of
from bandit.learning.sums import Evidence, folded, no_outcomes
from bandit.policies.utility import Normaliser
from tests.builders import NOW

FEATURES = 4
OF_VECTORS = ContextSettings(source=ContextSource.VECTOR, vector_length=FEATURES)
QUALITY_PRIOR = prior_of(schema_of(OF_VECTORS), Objective.QUALITY)
SIGMA = QUALITY_PRIOR.noise_deviation


def observed(coefficients, *, outcomes, random):
    """The contexts of a linear world, and the posterior after outcomes with noise SIGMA."""
    contexts = random.normal(size=(outcomes, FEATURES + 1))
    contexts[:, -1] = 1.0
    targets = contexts @ coefficients + SIGMA * random.normal(size=outcomes)
    evidence = [
        Evidence(0, context, target, 1.0) for context, target in zip(contexts, targets, strict=True)
    ]
    sums = folded([no_outcomes(FEATURES + 1, epoch=NOW)], evidence)[0]
    return contexts, posterior_from(sums, QUALITY_PRIOR)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("outcomes", [500, 5_000])
def test_known_coefficients_are_recovered(seed, outcomes):
    """
    The mean errs by the pull of the prior, inv(L0 + S) L0 theta, and by the noise, of covariance
    sigma^2 inv(L0 + S) S inv(L0 + S); 5 deviations of that are left to chance.  The noise is an
    average of about n squares, so sigma^2 errs by sigma^2 sqrt(2 / n), and by what the pull adds.
    """
    random = np.random.default_rng(seed)
    coefficients = random.uniform(-0.3, 0.3, size=FEATURES + 1)

    contexts, posterior = observed(coefficients, outcomes=outcomes, random=random)

    prior_precision, gram = np.diag(QUALITY_PRIOR.precision), contexts.T @ contexts
    inverse = np.linalg.inv(prior_precision + gram)
    pull = inverse @ prior_precision @ coefficients
    deviation = SIGMA * np.sqrt(np.diag(inverse @ gram @ inverse))
    assert (np.abs(posterior.mean - coefficients + pull) < 5 * deviation).all()
    excess = coefficients @ prior_precision @ coefficients / outcomes
    assert abs(posterior.noise - SIGMA**2) < 5 * SIGMA**2 * (2 / outcomes) ** 0.5 + excess


def test_a_belief_is_as_wide_as_its_error():
    """
    Coefficients drawn from the prior lie about the posterior mean as its covariance says: the
    squared Mahalanobis distances of W worlds sum to chi^2 with W d degrees of freedom, within
    5 deviations sqrt(2 W d), and within 2% for the noise being estimated.
    """
    worlds, random = 200, np.random.default_rng(11)
    size = FEATURES + 1

    distances = []
    for _ in range(worlds):
        coefficients = SIGMA * random.normal(size=size) / np.sqrt(QUALITY_PRIOR.precision)
        _, posterior = observed(coefficients, outcomes=300, random=random)
        covariance = np.zeros((size, size))
        covariance[np.tril_indices(size)] = posterior.covariance
        covariance += np.tril(covariance, -1).T
        error = posterior.mean - coefficients
        distances.append(error @ np.linalg.solve(covariance, error))

    degrees = worlds * size
    assert abs(sum(distances) - degrees) < 5 * (2 * degrees) ** 0.5 + 0.02 * degrees


def a_world(seed, *, queries, bases, slope):
    """A table where arm k has quality base_k + slope_k x1 + noise, and all arms cost the same."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(queries, FEATURES))
    direction = vectors[:, 0] / np.linalg.norm(vectors, axis=1)
    quality = np.array(bases) + np.outer(direction, slope)
    quality = np.clip(quality + 0.1 * random.normal(size=quality.shape), 0.0, 1.0)
    table = OutcomeTable(
        query_ids=tuple(f"q{row}" for row in range(queries)),
        texts=("",) * queries,
        models=tuple(f"arm {arm}" for arm in range(len(bases))),
        quality=quality,
        cost_usd=np.full(quality.shape, 0.001),
        latency_ms=None,
        request_tokens=np.full(queries, 100),
    )
    return table, vectors


def played_out(table, vectors, *, algorithm, seed):
    settings = PolicySettings(algorithm=algorithm, context=OF_VECTORS, cost_range=Range(1e-5, 1e-1))
    trial = Trial(
        table=table,
        contexts=table_contexts(table, settings, None, vectors),
        policy=settings,
        prices={},
        stream=StreamSettings(tradeoffs=(Preference(quality=1.0),)),
    )
    return run(trial, seed), Normaliser(settings.cost_range, settings.latency_range_ms)


@pytest.mark.parametrize("seed", range(5))
def test_thompson_loses_far_less_than_uniform_choice(seed):
    """Uniform choice loses the mean gap, (0 + .1 + .2 + .3) / 4 = .15 per decision."""
    table, vectors = a_world(seed, queries=600, bases=[0.8, 0.7, 0.6, 0.5], slope=[0.0] * 4)

    thompson, uniform = (
        measured(table, *played_out(table, vectors, algorithm=algorithm, seed=seed))
        for algorithm in (Algorithm.THOMPSON, Algorithm.UNIFORM)
    )

    # Of 600 uniform draws the gap's deviation is .112: 5 standard errors are .023.
    assert uniform.regret == pytest.approx(0.15, abs=0.03)
    assert thompson.regret < uniform.regret / 5
    assert thompson.best_single.arm == "arm 0"


@pytest.mark.parametrize("seed", range(3))
def test_where_the_best_arm_depends_on_the_query_learning_beats_every_single_arm(seed):
    """Two arms of the same mean with opposite slopes: every single arm leaves half of it."""
    table, vectors = a_world(seed, queries=2_000, bases=[0.6, 0.6], slope=[0.4, -0.4])

    played, normaliser = played_out(table, vectors, algorithm=Algorithm.THOMPSON, seed=seed)

    late = measured(table, played, normaliser, positions=np.arange(1_000, 2_000))
    best, single = late.oracle.utility, late.best_single.utility
    assert late.utility > single + 0.5 * (best - single)
