"""What the processes of the service do without."""

import sys
from importlib import import_module
from types import ModuleType


def do_without_blas() -> None:
    """
    Let the compiler find no BLAS: it would import SciPy's, which takes 28 MB, for kernels that call
    none.  For the processes of the service alone: elsewhere somebody else's kernels may need it.

    Without effect where SciPy's is imported already.
    """
    name = "scipy.linalg"
    if name in sys.modules:
        return
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    modules[name] = None  # to import it fails, as if it were not there
    try:
        import_module("numba.np.arraymath")
    finally:
        del sys.modules[name]
