"""A floor under the propensity of arms that are still being tried."""

import numpy as np
from numpy.typing import NDArray

from bandit.kernels.jit import Array

LARGEST_FLOOR = 1 / 3


def with_floor(propensities: Array, exploring: NDArray[np.bool_]) -> Array:
    """
    The propensities with at least f = 1 / (3 exploring arms) for each exploring arm.

    What lies above the floors keeps its proportions and shares what they leave: arms under their
    floor are lifted to it and the others scaled down; where none is under it nothing changes.

    propensities  (arms,)  of the eligible arms, sums to 1
    exploring     (arms,)
    returns       (arms,)  sums to 1
    """
    count = int(exploring.sum())
    if count == 0:
        return propensities
    floors = np.where(exploring, LARGEST_FLOOR / count, 0.0)
    above = np.maximum(propensities - floors, 0.0)
    result: Array = floors + (1.0 - LARGEST_FLOOR) * above / above.sum()
    return result
