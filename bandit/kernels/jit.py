"""
The compiler options and the array types of every kernel; the only file that imports Numba.

A kernel is compiled where it is defined, for the one signature written above it, so importing
`bandit.kernels` at start-up leaves nothing to compile during a request.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

# What a kernel takes.  Read-only, because frozen state is; a writeable array is accepted too.
SCALAR = types.float64
INDEX = types.int64
VECTOR = types.Array(types.float64, 1, "C", readonly=True)
MATRIX = types.Array(types.float64, 2, "C", readonly=True)
STACK = types.Array(types.float64, 3, "C", readonly=True)
INDICES = types.Array(types.int64, 1, "C", readonly=True)

# What a kernel returns: a new array of one, two, three or four dimensions.
RESULT = types.Array(types.float64, 1, "C")
RESULT_MATRIX = types.Array(types.float64, 2, "C")
RESULT_STACK = types.Array(types.float64, 3, "C")
RESULT_BATCH = types.Array(types.float64, 4, "C")

_Function = TypeVar("_Function", bound=Callable[..., Any])


def kernel(signature: object) -> Callable[[_Function], _Function]:
    """
    Compile a function for one signature, for example `kernel(RESULT(MATRIX, VECTOR))`.

    The global interpreter lock is released while it runs.  `fastmath` stays off: it assumes that
    NaN never occurs.  Division by zero gives an infinity, as in NumPy.  Nothing is cached on disk:
    several processes filling one cache have crashed, and all kernels compile in a few seconds.
    """
    decorator = numba.njit(
        signature,
        nogil=True,
        fastmath=False,
        boundscheck=False,
        error_model="numpy",
        cache=False,
    )
    return cast("Callable[[_Function], _Function]", decorator)
