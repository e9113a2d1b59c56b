import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from bandit.domain.objective import Objective
from bandit.domain.policy import ContextSettings
from bandit.features.schema import schema_of
from bandit.kernels.folding import fold
from bandit.learning.posterior import posterior_from
from bandit.learning.prior import prior_of
from bandit.learning.sums import Evidence, Sums, folded, no_outcomes
from tests.builders import NOW

seeds = st.integers(0, 2**32 - 1)
TEXT = schema_of(ContextSettings())


def history(seed, *, outcomes=40, features=33):
    """Outcomes as the service meets them: float32 contexts within +-3, positive weights."""
    random = np.random.default_rng(seed)
    contexts = random.uniform(-3, 3, size=(outcomes, features)).astype(np.float32)
    contexts[:, -1] = 1.0
    return [
        Evidence(0, context, float(random.normal()), float(2 ** random.uniform(-10, 0)))
        for context in contexts
    ]


def learned(evidence, sums=None):
    start = no_outcomes(len(evidence[0].context), epoch=NOW) if sums is None else sums
    return folded([start], evidence)[0]


def assert_same(sums, other):
    limit = 1e-9 * (1 + np.abs(other.values).max())
    assert_allclose(sums.values, other.values, rtol=0, atol=limit)


def test_two_outcomes_worked_out_by_hand():
    """x = (1, 2), y = 3, g = 1 and x = (0, 1), y = -1, g = 2."""
    evidence = [
        Evidence(0, np.array([1.0, 2.0]), 3.0, 1.0),
        Evidence(0, np.array([0.0, 1.0]), -1.0, 2.0),
    ]

    sums = learned(evidence)

    assert_array_equal(sums.gram, [[1, 2], [2, 6]])
    assert_array_equal(sums.moment, [3, 4])
    assert (sums.square, sums.weight) == (11.0, 3.0)


@settings(deadline=None, max_examples=25)
@given(seed=seeds, random=st.randoms(use_true_random=False))
def test_the_order_of_the_outcomes_does_not_matter(seed, random):
    outcomes = history(seed)
    shuffled = random.sample(outcomes, len(outcomes))
    prior = prior_of(TEXT, Objective.QUALITY)

    sums, other = learned(outcomes), learned(shuffled)

    assert_same(sums, other)
    means = [posterior_from(each, prior).mean for each in (sums, other)]
    assert_allclose(*means, rtol=0, atol=1e-9)


@settings(deadline=None, max_examples=25)
@given(seed=seeds, cut=st.integers(1, 39))
def test_sums_of_two_workers_merge_by_addition(seed, cut):
    outcomes = history(seed)

    one, other = learned(outcomes[:cut]), learned(outcomes[cut:])

    merged = Sums(one.values + other.values, 33, NOW)
    assert_same(merged, learned(outcomes))


@settings(deadline=None, max_examples=25)
@given(seed=seeds, taken=st.integers(0, 39))
def test_an_outcome_taken_back_was_never_there(seed, taken):
    outcomes = history(seed)
    gone = outcomes[taken]

    sums = learned([Evidence(0, gone.context, gone.target, -gone.weight)], learned(outcomes))

    assert_same(sums, learned([each for each in outcomes if each is not gone]))


def test_evidence_goes_to_its_cell_and_the_old_sums_stay():
    first, second = no_outcomes(1, epoch=NOW), no_outcomes(1, epoch=NOW)
    evidence = [Evidence(1, np.array([2.0]), 1.0, 1.0)]

    successors = folded([first, second], evidence)

    assert [sums.weight for sums in successors] == [0.0, 1.0]
    assert second.weight == 0.0
    assert not successors[1].values.flags.writeable


def test_no_cells_and_no_evidence_are_fine():
    sums = no_outcomes(2, epoch=NOW)

    assert folded([], []) == []
    assert_array_equal(folded([sums], [])[0].values, sums.values)


def test_a_million_updates_stay_close_to_a_refit():
    """
    A thousand micro-batches of a thousand outcomes, every tenth batch taken back later, against one
    fit of what is left by plain matrices.
    """
    features, batches, size = 33, 1_000, 1_000
    sums = no_outcomes(features, epoch=NOW).values[None]
    gram, moment = np.zeros((features, features)), np.zeros(features)
    coefficients = np.random.default_rng(5).uniform(-0.1, 0.1, features)
    cells = np.zeros(size, dtype=np.int64)

    def outcomes(batch):
        random = np.random.default_rng([7, batch])
        contexts = random.uniform(-3, 3, (size, features)).astype(np.float32).astype(np.float64)
        contexts[:, -1] = 1.0
        return contexts, contexts @ coefficients + random.normal(0, 0.3, size)

    for batch in range(batches):
        contexts, targets = outcomes(batch)
        sums = fold(sums, contexts, targets, np.ones(size), cells)
        if batch % 10:
            gram += contexts.T @ contexts
            moment += targets @ contexts
    for batch in range(0, batches, 10):
        sums = fold(sums, *outcomes(batch), -np.ones(size), cells)

    prior = prior_of(TEXT, Objective.QUALITY)
    posterior = posterior_from(Sums(values=sums[0], features=features, epoch=NOW), prior)
    refit = np.linalg.solve(np.diag(prior.precision) + gram, moment)
    assert np.abs(posterior.mean - refit).max() < 1e-8
    assert posterior.weight == batches * size * 9 // 10
