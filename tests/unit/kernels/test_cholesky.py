import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from bandit.kernels.cholesky import factorize, invert, solve
from tests import naive

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 40)


def a_precision(seed, size, *, prior=1.0):
    rows = np.random.default_rng(seed).normal(size=(2 * size, size))
    return prior * np.eye(size) + rows.T @ rows


def test_a_two_by_two_factor_is_the_one_worked_out_by_hand():
    """[[4, 2], [2, 5]] = L L' with L = [[2, 0], [1, 2]]."""
    matrix = np.array([[4.0, 2.0], [2.0, 5.0]])

    factor = factorize(matrix)

    assert_array_equal(factor, [[2.0, 0.0], [1.0, 2.0]])


def test_solution_and_inverse_are_the_ones_worked_out_by_hand():
    """The determinant of [[4, 2], [2, 5]] is 16, so its inverse is [[5, -2], [-2, 4]] / 16."""
    factor = np.array([[2.0, 0.0], [1.0, 2.0]])

    solution = solve(factor, np.array([16.0, 0.0]))
    inverse = invert(factor)

    assert_allclose(solution, [5.0, -2.0])
    assert_allclose(inverse, [[5 / 16, -2 / 16], [-2 / 16, 4 / 16]])


@settings(deadline=None, max_examples=40)
@given(seed=seeds, size=sizes)
def test_the_factor_is_the_one_of_the_recursion(seed, size):
    matrix = a_precision(seed, size)

    factor = factorize(matrix)

    assert_allclose(factor, naive.factorize(matrix), atol=1e-10)
    assert_array_equal(factor, np.tril(factor))


@settings(deadline=None, max_examples=40)
@given(seed=seeds, size=sizes)
def test_solving_and_inverting_agree_with_numpy(seed, size):
    factor = factorize(a_precision(seed, size))
    right = np.random.default_rng(seed).normal(size=size)

    solution, inverse = solve(factor, right), invert(factor)

    assert_allclose(solution, naive.solve(factor, right), rtol=1e-8, atol=1e-10)
    assert_allclose(inverse, naive.invert(factor), rtol=1e-8, atol=1e-10)


@settings(deadline=None, max_examples=40)
@given(seed=seeds, size=sizes)
def test_an_inverse_is_exactly_symmetric(seed, size):
    factor = factorize(a_precision(seed, size))

    inverse = invert(factor)

    assert_array_equal(inverse, inverse.T)


@settings(deadline=None, max_examples=40)
@given(seed=seeds, size=sizes, exponent=st.integers(-40, 40))
def test_scaling_a_matrix_by_a_power_of_four_scales_its_factor_by_the_root(seed, size, exponent):
    matrix = a_precision(seed, size)

    scaled = factorize(matrix * 4.0**exponent)

    assert_array_equal(scaled, factorize(matrix) * 2.0**exponent)


@pytest.mark.parametrize(
    "matrix",
    [
        [[0.0]],
        [[-1.0]],
        [[np.nan]],
        [[np.inf]],
        [[1.0, 2.0], [2.0, 1.0]],
        [[1.0, 1.0], [1.0, 1.0]],
        [[1.0, np.nan], [np.nan, 1.0]],
        [[1.0, 0.0], [0.0, np.inf]],
    ],
)
def test_a_matrix_that_is_not_positive_definite_gives_nan(matrix):
    matrix = np.array(matrix)

    factor = factorize(matrix)

    assert np.isnan(factor[0, 0])
    assert np.isnan(factor).all()


def test_the_inputs_stay_as_they_were():
    matrix = a_precision(1, 5)
    right = np.ones(5)
    before = matrix.copy()

    solve(factorize(matrix), right)

    assert_array_equal(matrix, before)
    assert_array_equal(right, np.ones(5))
