"""One number per seed, summarised."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and sample standard deviation over seeds."""

    mean: float
    std: float


def spread(values: Sequence[float]) -> Spread:
    """The spread of one number per seed; a single seed has no deviation."""
    array = np.array(values, dtype=np.float64)
    return Spread(float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else 0.0)
