"""What the processes of the service do without, in a process of their kind."""

import subprocess
import sys

PROGRAM = """
import sys
from services.lean import do_without_blas

do_without_blas()
import bandit.kernels.scoring
import bandit.kernels.regression

assert "scipy.linalg" not in sys.modules
import scipy.linalg

assert scipy.linalg.norm([3.0, 4.0]) == 5.0
"""


def test_kernels_bring_no_scipy_and_it_can_be_imported_all_the_same() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=120)
