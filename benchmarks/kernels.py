"""The kernels beside published rivals, plain NumPy, and what the machine can read."""

import logging
from collections.abc import Iterator

import numpy as np

from bandit.kernels.cholesky import factorize, invert
from bandit.kernels.folding import fold
from bandit.kernels.propensity import thompson
from bandit.kernels.scoring import score, score_batch
from bandit.learning.sums import packed_length
from benchmarks.contest import Contest
from benchmarks.timing import rate
from tests import naive

ARMS, HEADS, FEATURES, BATCH = 12, 3, 48, 64
RIVAL_ARMS, RIVAL_FEATURES = 11, 128


class Beliefs:
    """Seeded means, packed covariances, the same ones dense, and contexts."""

    def __init__(self, arms: int, heads: int, features: int) -> None:
        random = np.random.default_rng(0)
        self.means = random.normal(size=(arms, heads, features))
        roots = random.normal(size=(arms, heads, features, features)) / features
        self.dense = roots @ roots.transpose(0, 1, 3, 2) + np.eye(features) * 1e-3
        lower = np.tril_indices(features)
        self.packed = np.ascontiguousarray(self.dense[:, :, lower[0], lower[1]])
        self.contexts = random.normal(size=(BATCH, features))


def contests() -> Iterator[Contest]:
    """Everything that is claimed of the kernels."""
    yield from _against_rivals()
    yield from _against_the_machine()
    yield from _against_numpy()


def _against_rivals() -> Iterator[Contest]:
    from mabwiser.mab import MAB, LearningPolicy
    from pareto_bandit.policy import DisjointLinUCBPolicy
    from river.bandit import LinUCBDisjoint

    logging.getLogger("pareto_bandit").setLevel(logging.ERROR)
    beliefs = Beliefs(RIVAL_ARMS, 1, RIVAL_FEATURES)
    names = [f"arm {number}" for number in range(RIVAL_ARMS)]
    context = beliefs.contexts[0]
    random = np.random.default_rng(1)
    history = random.normal(size=(4 * RIVAL_ARMS, RIVAL_FEATURES))

    pareto = DisjointLinUCBPolicy(names, dim=RIVAL_FEATURES)
    mab = MAB(names, LearningPolicy.LinUCB())
    mab.fit(names * 4, random.uniform(size=len(history)), history)
    river = LinUCBDisjoint(seed=0)
    as_river_takes_it = dict(enumerate(context.tolist()))
    for name, row in zip(names * 4, history, strict=True):
        pareto.update(name, row, 0.5)
        river.update(name, dict(enumerate(row.tolist())), 0.5)

    def ours() -> float:
        return rate(lambda: score(beliefs.means, beliefs.packed, context))

    what = f"score {RIVAL_ARMS} arms, {RIVAL_FEATURES} features"
    yield Contest(
        f"{what} / paretobandit's select",
        ours,
        lambda: rate(lambda: pareto.select_arm(context)),
        floor=5,
        aim=10,
    )
    yield Contest(
        f"{what} / MABWiser's LinUCB",
        ours,
        lambda: rate(lambda: mab.predict(context[None])),
        floor=20,
        aim=40,
    )
    yield Contest(
        f"{what} / River's LinUCBDisjoint",
        ours,
        lambda: rate(lambda: river.pull(names, context=as_river_takes_it)),
        floor=50,
        aim=100,
    )


def _against_the_machine() -> Iterator[Contest]:
    beliefs = Beliefs(ARMS, HEADS, RIVAL_FEATURES)
    values = beliefs.packed.reshape(-1).copy()
    context = beliefs.contexts[0]
    megabytes = values.nbytes / 1e6
    yield Contest(
        f"scoring reads covariances of {RIVAL_FEATURES} features / reading alone",
        lambda: rate(lambda: score(beliefs.means, beliefs.packed, context)) * megabytes,
        lambda: rate(lambda: np.dot(values, values)) * megabytes,
        floor=0.5,
        aim=0.75,
        unit="MB per second",
    )
    random = np.random.default_rng(2)
    for arms, floor in ((ARMS, 1 / 2), (50, 1 / 3)):
        many = Beliefs(arms, HEADS, RIVAL_FEATURES)
        utility, deviation = random.normal(0.5, 0.02, arms), random.uniform(0.005, 0.02, arms)
        yield Contest(
            f"propensities of {arms} arms / scoring them, {RIVAL_FEATURES} features",
            lambda u=utility, d=deviation: rate(lambda: thompson(u, d)),
            lambda b=many: rate(lambda: score(b.means, b.packed, b.contexts[0])),
            floor=floor,
            aim=1,
        )


def _against_numpy() -> Iterator[Contest]:
    beliefs = Beliefs(ARMS, HEADS, FEATURES)
    shape = f"{ARMS} arms, {HEADS} heads, {FEATURES} features"

    def plain(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return beliefs.means @ x, np.einsum("i,khij,j->kh", x, beliefs.dense, x, optimize=False)

    yield Contest(
        f"score {BATCH} queries, {shape} / plain NumPy",
        lambda: rate(
            lambda: score_batch(beliefs.means, beliefs.packed, beliefs.contexts), units=BATCH
        ),
        lambda: rate(lambda: [plain(row) for row in beliefs.contexts], units=BATCH),
        floor=1,
        aim=20,
    )
    precision = beliefs.dense[0, 0] + np.eye(FEATURES)
    yield Contest(
        f"factor and invert a precision of {FEATURES} / plain NumPy",
        lambda: rate(lambda: invert(factorize(precision))),
        lambda: rate(lambda: np.linalg.inv(precision)),
        floor=1,
        aim=2,
    )
    random = np.random.default_rng(3)
    sums = np.zeros((ARMS * HEADS, packed_length(FEATURES)))
    cells = random.integers(0, ARMS * HEADS, BATCH)
    targets, weights = random.normal(size=BATCH), np.ones(BATCH)
    yield Contest(
        f"fold {BATCH} outcomes, {FEATURES} features / plain NumPy",
        lambda: rate(lambda: fold(sums, beliefs.contexts, targets, weights, cells), units=BATCH),
        lambda: rate(
            lambda: naive.fold(sums, beliefs.contexts, targets, weights, cells), units=BATCH
        ),
        floor=1,
        aim=10,
    )
