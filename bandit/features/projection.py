"""A fixed random rotation onto few dimensions; ties with principal directions once shrunk."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

PROJECTED = 24
LIMIT = 3.0  # standardised features are clipped to +-3
_SEED = 20_260_101


@lru_cache(maxsize=64)
def projection(length: int) -> NDArray[np.float64]:
    """
    The orthogonal map for vectors of that length.

    returns  (length, min(24, length)), orthonormal columns, a pure function of the length
    """
    # RandomState, not Generator: its stream is promised never to change.
    normal = np.random.RandomState(_SEED).standard_normal((length, min(PROJECTED, length)))
    orthogonal, triangle = np.linalg.qr(normal)
    # The signs of a QR factorisation are the library's choice; a positive diagonal is unique.
    result = np.ascontiguousarray(orthogonal * np.sign(np.diag(triangle)))
    result.setflags(write=False)
    return result


def standardised(
    values: NDArray[np.float64], mean: NDArray[np.float64], deviation: NDArray[np.float64]
) -> NDArray[np.float64]:
    """clip((values - mean) / deviation, +-3), elementwise over the last axis."""
    result: NDArray[np.float64] = np.clip((values - mean) / deviation, -LIMIT, LIMIT)
    return result
