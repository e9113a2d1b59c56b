import numpy as np
from numpy.testing import assert_array_equal

from bandit.kernels.jit import RESULT, SCALAR, VECTOR, kernel


@kernel(RESULT(VECTOR, SCALAR))
def divided(values, divisor):
    quotients = np.empty(values.shape[0])
    for index in range(values.shape[0]):
        quotients[index] = values[index] / divisor
    return quotients


def test_a_kernel_takes_frozen_and_writeable_arrays_alike():
    writeable = np.array([1.0, 2.0])
    frozen = writeable.copy()
    frozen.setflags(write=False)

    results = divided(writeable, 2.0), divided(frozen, 2.0)

    assert_array_equal(results, [[0.5, 1.0], [0.5, 1.0]])


def test_a_kernel_is_compiled_when_it_is_defined_and_for_nothing_else():
    before = list(divided.signatures)

    divided(np.ones(3), 1.0)

    assert len(before) == 1
    assert list(divided.signatures) == before


def test_nan_and_division_by_zero_behave_as_in_numpy():
    values = np.array([1.0, -1.0, 0.0, np.nan])

    quotients = divided(values, 0.0)

    assert_array_equal(quotients, [np.inf, -np.inf, np.nan, np.nan])
