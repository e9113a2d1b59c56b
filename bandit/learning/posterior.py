"""From sums and a prior to a belief about the coefficients."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from bandit.domain.errors import CorruptPosterior
from bandit.kernels.cholesky import invert
from bandit.kernels.folding import pack
from bandit.kernels.jit import Array
from bandit.kernels.regression import regress
from bandit.learning.prior import Prior
from bandit.learning.sums import Sums

_ROUNDING = 1e-6
_NOT_FINITE = "the sums are not finite sums of outcomes"


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """
    Belief about the coefficients of one (arm, head).

    mean    (features,)            mu
    factor  (features, features)   L with L L' = precision, lower triangular
    noise   sigma^2, variance of one outcome about its mean
    weight  n, decayed number of outcomes
    """

    mean: Array
    factor: Array
    noise: float
    weight: float

    def __post_init__(self) -> None:
        self.mean.setflags(write=False)
        self.factor.setflags(write=False)

    @property
    def covariance(self) -> Array:
        """(features (features + 1) / 2,)  noise * inverse precision, packed lower triangle"""
        return pack(invert(self.factor), self.noise)

    @property
    def bias_variance(self) -> float:
        """The last entry of the covariance, which takes no inverse: (1 / L[-1, -1])^2 * noise."""
        return self.noise / self.factor.item(-1) ** 2


def posterior_from(sums: Sums, prior: Prior) -> Posterior:
    """
    The posterior of a Bayesian linear regression with a Normal-Inverse-Gamma prior.

        precision = L0 + S    mu = precision^-1 s    SSR = yy - s'mu
        sigma^2 = (a0 sigma0^2 + SSR / 2) / (a0 + n / 2)

    SSR is yy - 2 s'mu + mu'S mu + mu'L0 mu, shortened by precision mu = s.
    Source: Murphy (2007), section 3; Bishop (2006), eq. 3.50-3.51.

    Raises CorruptPosterior if the sums are of another number of features than the prior, are not
    finite, or leave the precision not positive definite.
    """
    return posterior_with_evidence(sums, prior)[0]


# The last ones are kept: a learner looks whether sums can be used before it writes them, a snapshot
# made beside it takes the same sums, and the watch over what comes next looks at their noise.
@lru_cache(maxsize=64)
def posterior_with_evidence(sums: Sums, prior: Prior) -> tuple[Posterior, float]:
    """
    The posterior, and the logarithm of how probable the model made the outcomes.

        ln p = (ln |L0| - ln |precision|) / 2 + a0 ln b0 - a ln b

    Without ln Gamma(a) - ln Gamma(a0) - n / 2 ln 2 pi, which all models of the same outcomes with
    the same a0 share.  Source: Murphy (2007), section 3; Bishop (2006), eq. 3.118.
    Raises CorruptPosterior, as `posterior_from` does.
    """
    features = sums.features
    if features != prior.precision.size:  # the kernels look at no bounds
        raise CorruptPosterior(
            f"the sums are of {features} features, not of {prior.precision.size}"
        )
    weight, square = sums.weight, sums.square
    if not (weight >= -_ROUNDING and square >= -_ROUNDING):
        raise CorruptPosterior(_NOT_FINITE)
    result = regress(sums.values, prior.precision)
    if math.isnan(result.item(0)):
        is_finite = bool(np.isfinite(sums.values).all())
        problem = "the precision is not positive definite" if is_finite else _NOT_FINITE
        raise CorruptPosterior(problem)
    factor = result[: features * features].reshape(features, features)
    explained, volume = result[-2:].tolist()
    own = conjugate(weight, square - explained, prior)
    posterior = Posterior(result[features * features : -2], factor, own.noise, weight)
    return posterior, prior.log_volume - volume + own.evidence


class Conjugate(NamedTuple):
    """
    What the Inverse-Gamma half of the posterior says.

    noise     sigma^2 = b / a
    evidence  a0 ln b0 - a ln b
    """

    noise: float
    evidence: float


def conjugate(weight: float, residual: float, prior: Prior) -> Conjugate:
    """
    a = a0 + n / 2, b = b0 + SSR / 2, with b0 = a0 sigma0^2.

    Below 0, where both can only be by rounding, `weight` n and `residual` SSR count as 0.
    """
    shape = prior.shape + max(weight, 0.0) / 2
    rate0 = prior.shape * prior.noise_deviation**2
    rate = rate0 + max(residual, 0.0) / 2
    return Conjugate(rate / shape, prior.shape * math.log(rate0) - shape * math.log(rate))
