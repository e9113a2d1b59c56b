"""What is believed of an arm before its first outcome."""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from bandit.domain.objective import Objective
from bandit.features.schema import FeatureSchema
from bandit.kernels.jit import Array

UNPRICED_BIAS_PRECISION = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Prior:
    """
    A Normal-Inverse-Gamma prior with mean zero; targets have the prior mean taken out.

    precision        (features,)  L0, diagonal, in imaginary observations; never decayed
    noise_deviation  sigma0, of one outcome
    shape            a0: how firmly the noise is believed
    log_volume       ln |L0| / 2
    """

    precision: Array
    noise_deviation: float
    shape: float
    log_volume: float = field(init=False)

    def __post_init__(self) -> None:
        self.precision.setflags(write=False)
        object.__setattr__(self, "log_volume", float(np.log(self.precision).sum()) / 2)


# Per head: precision of embedding features, of cues and named features, of the bias; sigma0; a0.
# Strong shrinkage of the context is what the measurements favour: weakly shrunk, it costs utility.
_DEFAULTS: dict[Objective, tuple[float, float, float, float, float]] = {
    Objective.QUALITY: (1000.0, 100.0, 5.0, 0.3, 10.0),
    Objective.COST: (50.0, 50.0, 1.0, 0.5, 5.0),
    Objective.LATENCY: (50.0, 50.0, 1.0, 0.4, 5.0),
}


def prior_of(schema: FeatureSchema, objective: Objective, *, is_priced: bool = True) -> Prior:
    """
    The default prior; the cost of an arm without a price is left to its own outcomes.

    The same object for the same question, however it is put: what is kept of it is found by it.
    """
    return _prior_of(schema, objective, is_priced or objective is not Objective.COST)


@lru_cache(maxsize=1024)
def _prior_of(schema: FeatureSchema, objective: Objective, is_priced: bool) -> Prior:
    embedding, cues, bias, noise_deviation, shape = _DEFAULTS[objective]
    if not is_priced:
        bias = UNPRICED_BIAS_PRECISION
    precision = np.concatenate(
        [
            np.full(schema.embedding, embedding),
            np.full(schema.cues + schema.named, cues),
            [bias],
        ]
    )
    return Prior(precision=precision, noise_deviation=noise_deviation, shape=shape)
