import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from bandit.features.projection import projection, standardised


@pytest.mark.parametrize("length", [1, 2, 23, 24, 25, 256, 384])
def test_its_columns_are_orthonormal(length):
    columns = min(24, length)

    projected = projection(length)

    assert projected.shape == (length, columns)
    assert_allclose(projected.T @ projected, np.eye(columns), atol=1e-12)


def test_it_is_a_pure_function_of_the_length():
    first = projection(256).copy()
    projection.cache_clear()

    again = projection(256)

    assert_array_equal(first, again)
    assert not again.flags.writeable


def test_standardised_values_are_clipped_three_deviations_from_the_mean():
    """(value - 10) / 2, between -3 and 3."""
    values = np.array([10.0, 13.0, 16.0, 17.0, -1e300])

    result = standardised(values, np.full(5, 10.0), np.full(5, 2.0))

    assert_array_equal(result, [0.0, 1.5, 3.0, 3.0, -3.0])
