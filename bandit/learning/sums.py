"""
What is kept of the outcomes of one (arm, head): sums over outcomes, and nothing of the prior.

Evidence adds up: updates commute, two workers' sums merge, and a correction subtracts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from bandit.kernels.folding import fold, unpack_gram
from bandit.kernels.jit import Array


def packed_length(features: int) -> int:
    """Numbers in the sums of a head with that many features."""
    return features * (features + 1) // 2 + features + 2


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """
    Weighted sums over outcomes, packed: lower triangle of gram | moment | square | weight.

    values    (features (features + 1) / 2 + features + 2,)
    features  length of a context
    epoch     the moment at which an outcome weighs 1 (see `decay.py`)
    """

    values: Array
    features: int
    epoch: datetime

    def __post_init__(self) -> None:
        self.values.setflags(write=False)

    @property
    def gram(self) -> Array:
        """(features, features)  S = sum of g x x'"""
        return unpack_gram(self.values, np.zeros(self.features))

    @property
    def moment(self) -> Array:
        """(features,)  s = sum of g x y"""
        return self.values[-self.features - 2 : -2]

    @property
    def square(self) -> float:
        """sum of g y^2"""
        return float(self.values[-2])

    @property
    def weight(self) -> float:
        """n = sum of g"""
        return float(self.values[-1])


def no_outcomes(features: int, *, epoch: datetime) -> Sums:
    """The sums over nothing."""
    return Sums(values=np.zeros(packed_length(features)), features=features, epoch=epoch)


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """
    What is to be added to the sums of one cell.

    cell      position in the list of sums
    context   (features,)
    target    y, see `targets.py`
    weight    g; negative: taken back
    """

    cell: int
    context: NDArray[np.float32]
    target: float
    weight: float


def folded(sums: Sequence[Sums], evidence: Sequence[Evidence]) -> list[Sums]:
    """The successors of `sums` (all of one length) after a micro-batch of evidence."""
    if not sums:
        return []
    values = fold(
        np.concatenate([cell.values for cell in sums]).reshape(len(sums), -1),
        np.array([item.context for item in evidence], dtype=np.float64).reshape(
            len(evidence), sums[0].features
        ),
        np.array([item.target for item in evidence], dtype=np.float64),
        np.array([item.weight for item in evidence], dtype=np.float64),
        np.array([item.cell for item in evidence], dtype=np.int64),
    )
    return [
        Sums(values=row.copy(), features=cell.features, epoch=cell.epoch)
        for row, cell in zip(values, sums, strict=True)
    ]
