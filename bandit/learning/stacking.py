"""
How far the contexts are to be trusted: a prediction with context, stacked on one without.

Where contexts say little, a regression on them loses to a plain mean for as long as its
coefficients are noise.  Both are made from the same sums, so the choice between them can be made
anew with every outcome, and taken back with every correction.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bandit.domain.objective import Objective
from bandit.kernels.jit import Array
from bandit.learning.posterior import Posterior, conjugate, posterior_with_evidence
from bandit.learning.prior import Prior
from bandit.learning.sums import Sums

# Cost and latency are predicted from the length of a request: their contexts earn their keep.
STACKED = frozenset({Objective.QUALITY})

# In units of `Alternative.distance`: how far the two predictions have to have parted, over all
# outcomes, before what was seen outweighs the belief that context says nothing.  Chosen on the
# development tables among 10, 30, 60 and 120 (docs/learning.md).
RESERVE = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Alternative:
    """
    What the outcomes of one (arm, head) say when their contexts are left out.

    mean, variance   of the bias alone
    noise            sigma^2
    gain             ln of the Bayes factor, the model with context over this one
    distance         sum over outcomes of (difference of the two predictions)^2 / sigma^2
    """

    mean: float
    variance: float
    noise: float
    gain: float
    distance: float


def with_alternative(sums: Sums, prior: Prior) -> tuple[Posterior, Alternative]:
    """The posterior, and what it is to be stacked on; raises as `posterior_from` does."""
    contextual, evidence = posterior_with_evidence(sums, prior)
    # The same formulas with one feature, whose gram matrix is the weight.
    before, moment = float(prior.precision[-1]), float(sums.moment[-1])
    precision = before + sums.weight
    mean = moment / precision
    residual = max(sums.square - mean * moment, 0.0)
    constant = conjugate(sums.weight, residual, prior)
    without = (math.log(before) - math.log(precision)) / 2 + constant.evidence
    apart = contextual.mean.copy()
    apart[-1] -= mean
    distance = max(float(apart @ sums.gram @ apart), 0.0) / constant.noise
    return contextual, Alternative(
        mean=mean,
        variance=constant.noise / precision,
        noise=constant.noise,
        gain=evidence - without,
        distance=distance,
    )


def context_weight(alternatives: Iterable[Alternative]) -> float:
    """
    The weight of the prediction with context, 0 to 1; the same for all arms of a head.

        w = clip((G + D / 2) / (RESERVE + D), 0, 1)    G = sum of gains    D = sum of distances

    The w that minimises sum (y - m0 - w (m1 - m0))^2 / sigma^2 + RESERVE w^2, m0 and m1 being
    predictions one step ahead: of a log Bayes factor, half of what context takes off the squared
    error so predicted, and the distance in place of that between the predictions one step ahead.
    Source: Wolpert (1992), stacked generalization; Breiman (1996), stacked regressions, with a
    ridge; Dawid (1984) for the Bayes factor as a one-step-ahead score.
    """
    pairs = [(each.gain, each.distance) for each in alternatives]
    gain = sum(pair[0] for pair in pairs)
    distance = sum(pair[1] for pair in pairs)
    return min(max((gain + distance / 2) / (RESERVE + distance), 0.0), 1.0)


def stacked(
    contextual: Sequence[Posterior], alternatives: Sequence[Alternative], weight: float
) -> tuple[Array, Array, Array]:
    """
    Means, variances of the bias, and noises of the stacked predictions of several arms.

    (arms, features), (arms,), (arms,).  Of the covariance it is the bias alone that an arm is
    explored by: for what it is worth on average.  Exploring each coefficient of the context as well
    costs more than it finds out.
    """
    rest = 1 - weight
    pairs = list(zip(contextual, alternatives, strict=True))
    # Not `np.stack`, which takes six times as long for a dozen rows.
    means = weight * np.concatenate([it.mean for it in contextual]).reshape(len(contextual), -1)
    means[:, -1] += [rest * other.mean for other in alternatives]
    variances = [weight * own.bias_variance + rest * other.variance for own, other in pairs]
    noises = [weight * own.noise + rest * other.noise for own, other in pairs]
    return means, np.array(variances), np.array(noises)
