"""
The compiler options and the array types of every kernel; where Numba is used.

A kernel is compiled where it is defined, for the one signature written above it, so importing
`bandit.kernels` at start-up leaves nothing to compile during a request.
"""

import warnings
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from bandit.kernels.cache import cache_folder, taking_turns

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

# What a kernel takes.  Read-only, because frozen state is; a writeable array is accepted too.
SCALAR = types.float64
INDEX = types.int64
VECTOR = types.Array(types.float64, 1, "C", readonly=True)
MATRIX = types.Array(types.float64, 2, "C", readonly=True)
STACK = types.Array(types.float64, 3, "C", readonly=True)
INDICES = types.Array(types.int64, 1, "C", readonly=True)

# What a kernel returns: a new array of one, two, three or four dimensions, or of positions.
RESULT_INDICES = types.Array(types.int64, 1, "C")
RESULT = types.Array(types.float64, 1, "C")
RESULT_MATRIX = types.Array(types.float64, 2, "C")
RESULT_STACK = types.Array(types.float64, 3, "C")
RESULT_BATCH = types.Array(types.float64, 4, "C")

# Of a part of a kernel that writes to an array of its caller's.
NOTHING = types.void

_Function = TypeVar("_Function", bound=Callable[..., Any])

_KERNELS = __name__.rpartition(".")[0] + "."
_folder = cache_folder()
if _folder is not None:
    numba.config.CACHE_DIR = str(_folder)  # type: ignore[attr-defined]


def kernel(signature: object) -> Callable[[_Function], _Function]:
    """
    Compile a function for one signature, for example `kernel(RESULT(MATRIX, VECTOR))`.

    The global interpreter lock is released while it runs.  `fastmath` stays off: it assumes that
    NaN never occurs.  Division by zero gives an infinity, as in NumPy.  The kernels of this package
    are compiled once and kept, see `cache`.
    """

    def compiled(function: _Function) -> _Function:
        global _folder
        if _folder is None or not function.__module__.startswith(_KERNELS):
            return _compiled(signature, function, is_kept=False)
        try:
            with taking_turns(_folder):
                return _compiled(signature, function, is_kept=True)
        except Exception as error:
            # Whatever is wrong with what was kept, or with the disk, the sources are there.
            warnings.warn(f"cannot use the kernels kept in {_folder}: {error!r}", stacklevel=2)
            _folder = None  # nor look for the others: each may take as long
            return _compiled(signature, function, is_kept=False)

    return compiled


def _compiled(signature: object, function: _Function, *, is_kept: bool) -> _Function:
    decorator = numba.njit(
        signature,
        nogil=True,
        fastmath=False,
        boundscheck=False,
        error_model="numpy",
        cache=is_kept,
    )
    return cast("_Function", decorator(function))
