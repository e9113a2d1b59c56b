"""The kernels beside plain NumPy on the same work."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from bandit.kernels.cholesky import factorize, invert
from bandit.kernels.folding import fold
from bandit.kernels.propensity import thompson
from bandit.kernels.scoring import score, score_batch
from bandit.learning.sums import packed_length
from tests import naive

ARMS, HEADS, FEATURES, BATCH = 12, 3, 33, 64
DRAWS = 10_000


@dataclass(frozen=True, slots=True)
class Contest:
    """Two ways of doing the same work, `units` times a call."""

    name: str
    ours: Callable[[], object]
    plain: Callable[[], object]
    units: int = 1


def contests() -> Iterator[Contest]:
    """Everything that is timed, on seeded numbers of the shipped sizes."""
    random = np.random.default_rng(0)
    means = random.normal(size=(ARMS, HEADS, FEATURES))
    roots = random.normal(size=(ARMS, HEADS, FEATURES, FEATURES)) / FEATURES
    dense = roots @ roots.transpose(0, 1, 3, 2) + np.eye(FEATURES) * 1e-3
    lower = np.tril_indices(FEATURES)
    packed = np.ascontiguousarray(dense[:, :, lower[0], lower[1]])
    contexts = random.normal(size=(BATCH, FEATURES))
    context = contexts[0]

    def plain_score(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return means @ x, np.einsum("i,khij,j->kh", x, dense, x, optimize=False)

    yield Contest(
        f"score one query, {ARMS} arms, {HEADS} heads, {FEATURES} features",
        lambda: score(means, packed, context),
        lambda: plain_score(context),
    )
    yield Contest(
        f"score {BATCH} queries at once, per query",
        lambda: score_batch(means, packed, contexts),
        lambda: [plain_score(row) for row in contexts],
        units=BATCH,
    )
    utility, deviation = random.normal(0.5, 0.02, ARMS), random.uniform(0.005, 0.02, ARMS)

    def counted() -> np.ndarray:
        drawn = random.normal(utility, deviation, size=(DRAWS, ARMS))
        return np.bincount(drawn.argmax(axis=1), minlength=ARMS) / DRAWS

    yield Contest(
        f"propensities of {ARMS} arms, beside {DRAWS:,} draws",
        lambda: thompson(utility, deviation),
        counted,
    )
    precision = np.eye(FEATURES) * 4 + roots[0, 0] @ roots[0, 0].T
    yield Contest(
        f"factor and invert a precision of {FEATURES}",
        lambda: invert(factorize(precision)),
        lambda: np.linalg.inv(precision),
    )
    sums = np.zeros((ARMS * HEADS, packed_length(FEATURES)))
    cells = random.integers(0, ARMS * HEADS, BATCH)
    targets, weights = random.normal(size=BATCH), np.ones(BATCH)
    yield Contest(
        f"fold {BATCH} outcomes, per outcome",
        lambda: fold(sums, contexts, targets, weights, cells),
        lambda: naive.fold(sums, contexts, targets, weights, cells),
        units=BATCH,
    )
