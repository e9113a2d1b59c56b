import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from bandit.kernels.folding import fold
from bandit.kernels.regression import regress


def sums_of(contexts, targets, weights):
    features = contexts.shape[1]
    nothing = np.zeros((1, features * (features + 1) // 2 + features + 2))
    cells = np.zeros(len(targets), dtype=np.int64)
    return fold(nothing, contexts, targets, weights, cells)[0]


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), features=st.integers(1, 12), count=st.integers(0, 30))
def test_it_is_the_factor_and_the_solution_of_the_normal_equations(seed, features, count):
    random = np.random.default_rng(seed)
    x, y = random.normal(size=(count, features)), random.normal(size=count)
    g, prior = random.uniform(0.1, 2.0, size=count), random.uniform(0.5, 5.0, size=features)

    result = regress(sums_of(x, y, g), prior)

    precision, moment = np.diag(prior) + (x.T * g) @ x, (x.T * g) @ y
    factor, mean = np.linalg.cholesky(precision), np.linalg.solve(precision, moment)
    square = features * features
    assert_allclose(result[:square].reshape(features, features), factor, atol=1e-9)
    assert_allclose(result[square:-2], mean, atol=1e-9)
    assert result[-2] == pytest.approx(moment @ mean, abs=1e-9)
    assert result[-1] == pytest.approx(np.linalg.slogdet(precision)[1] / 2, abs=1e-9)


@pytest.mark.parametrize("place", range(7))
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_sums_that_are_not_finite_give_nan_first(place, value):
    sums = sums_of(np.ones((1, 2)), np.ones(1), np.ones(1))
    sums[place] = value

    assert np.isnan(regress(sums, np.ones(2))[0])


def test_a_precision_that_is_not_positive_definite_gives_nan_first():
    sums = sums_of(np.ones((1, 2)), np.ones(1), np.array([-1.0]))

    assert np.isnan(regress(sums, np.ones(2))[0])
