"""
From outcomes recorded elsewhere to a prior: they count as a few outcomes of the arm's own.

Their sums stand beside L0 when a posterior is made, and are never folded into what is kept of the
arm's outcomes: they do not age, and a correction or an alarm leaves them alone.
"""

import numpy as np
from numpy.typing import NDArray

from bandit.domain.errors import CorruptPosterior, InvalidInput
from bandit.domain.offline_prior import MOST_STRENGTH, OfflinePrior
from bandit.features.projection import LIMIT
from bandit.features.schema import FeatureSchema
from bandit.kernels.folding import lower_triangle, unpack_gram
from bandit.kernels.jit import Array
from bandit.learning.sums import Sums, packed_length

LARGEST_TARGET = 100.0  # far beyond the logarithm of any cost or latency there is
_ROUNDING = 1e-9


def offline_prior(
    contexts: NDArray[np.float32], targets: Array, schema_id: str, *, strength: float
) -> OfflinePrior:
    """
    The sums over recorded outcomes, scaled so that their weights add up to `strength`.

        P = g sum x x'    p = g sum x y    pp = g sum y^2    g = min(strength, rows) / rows

    contexts  (rows, features), at least one row
    targets   (rows,)  y, see `targets.py`
    strength  above 0, at most `MOST_STRENGTH`
    """
    rows = len(targets)
    if rows == 0:
        raise InvalidInput("prior", "no outcome was recorded")
    if not 0 < strength <= MOST_STRENGTH:
        raise InvalidInput("prior.strength", f"must be above 0, at most {MOST_STRENGTH:g}")
    total = min(strength, float(rows))
    x = contexts.astype(np.float64)
    gram = x.T @ x
    values = np.concatenate(
        [gram[lower_triangle(x.shape[1])], x.T @ targets, [targets @ targets, rows]]
    )
    scaled = values * (total / rows)
    scaled[-1] = total
    return OfflinePrior(rows, total, schema_id, scaled.astype("<f8").tobytes())


def with_offline(sums: Sums, offline: OfflinePrior | None) -> Sums:
    """
    The sums with an offline prior's, from which `posterior_from` makes the posterior.

        precision = L0 + P + S    SSR = (pp + yy) - (p + s)'mu    a = a0 + (strength + n) / 2

    The same as having observed the recorded outcomes with weight strength / rows each.  Raises
    CorruptPosterior if the prior's sums are lost.
    """
    if offline is None:
        return sums
    pseudo = np.frombuffer(offline.sums, dtype="<f8")
    if len(pseudo) != len(sums.values):
        raise CorruptPosterior("the offline prior has no sums of the right length")
    return Sums(values=sums.values + pseudo, features=sums.features, epoch=sums.epoch)


def of_schema(offline: OfflinePrior | None, schema: FeatureSchema) -> OfflinePrior | None:
    """The offline prior, if its contexts are of that schema; None: there is none to be used."""
    return offline if offline is not None and offline.schema_id == schema.id else None


def check(offline: OfflinePrior, schema: FeatureSchema, *, field: str) -> None:
    """
    Refuse sums that no outcomes with contexts of this schema could have, naming the field.

    The matrix of the sums of (x, y)(x, y)' is positive semi-definite, no feature is beyond 3
    deviations, and the last one is 1, so that its square adds up to the strength.
    """
    values = np.frombuffer(offline.sums, dtype="<f8")
    if len(values) != packed_length(schema.features):
        raise InvalidInput(
            f"{field}.sums",
            f"has {len(values)} numbers, not {packed_length(schema.features)}",
        )
    if not np.isfinite(values).all():
        raise InvalidInput(f"{field}.sums", "must be finite numbers")
    features, strength = schema.features, offline.strength
    moments = np.empty((features + 1, features + 1))
    moments[:-1, :-1] = unpack_gram(values, np.zeros(features))
    moments[-1, :-1] = moments[:-1, -1] = values[-features - 2 : -2]
    moments[-1, -1] = values[-2]
    limits = np.full(features + 1, strength * LIMIT**2)
    limits[-1] = strength * LARGEST_TARGET**2
    rounding = _ROUNDING * (1 + limits)
    if not (moments.diagonal() <= limits + rounding).all():
        raise InvalidInput(f"{field}.sums", "are beyond those of so few outcomes")
    if not np.allclose([values[-1], moments[-2, -2]], strength, rtol=1e-6, atol=0):
        raise InvalidInput(f"{field}.sums", "do not add up to the strength")
    if np.linalg.eigvalsh(moments)[0] < -rounding.max():
        raise InvalidInput(f"{field}.sums", "are not positive semi-definite")
