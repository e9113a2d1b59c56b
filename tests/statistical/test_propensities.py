"""Are arms chosen as often as the logged propensities say?"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from bandit.domain.objective import HEADS
from bandit.domain.policy import Algorithm, ContextSettings, ContextSource, PolicySettings
from bandit.domain.price import Price
from bandit.domain.query import Query
from bandit.evaluation.stream import decision_id
from bandit.features.schema import contexts_of, schema_of
from bandit.kernels.propensity import draw
from bandit.learning.sums import Evidence, folded, no_outcomes
from bandit.policies.draw import uniform_of
from bandit.routing.deciding import decide
from bandit.routing.ports import StoredSums
from bandit.routing.snapshot import snapshot_of
from tests.builders import NOW, a_policy, an_arm

ARMS = 6
BULK = 200_000
WHOLE = 5_000
KEY = bytes(range(32))
OF_VECTORS = ContextSettings(source=ContextSource.VECTOR, vector_length=8)
VECTORS = np.random.default_rng(1).normal(size=(3, 8))
ALGORITHMS = (
    PolicySettings(context=OF_VECTORS),
    PolicySettings(context=OF_VECTORS, temperature=1.0),
    PolicySettings(context=OF_VECTORS, temperature=0.1),
    PolicySettings(context=OF_VECTORS, algorithm=Algorithm.LINUCB),
    PolicySettings(context=OF_VECTORS, algorithm=Algorithm.EPSILON_GREEDY, epsilon=0.1),
    PolicySettings(context=OF_VECTORS, algorithm=Algorithm.UNIFORM),
)


def learned_snapshot(settings):
    """Six arms of nearly the same worth after 40 outcomes each, fixed from here on."""
    arms = [an_arm(f"arm {k}", price=Price(1.0 + k / 10, 4.0 + k / 10)) for k in range(ARMS)]
    policy = replace(a_policy(settings=settings, arms=arms), key=KEY)
    schema = schema_of(settings.context)
    random = np.random.default_rng(2)
    changed = {}
    for arm in policy.arms:
        for head in HEADS:
            contexts = random.normal(size=(40, schema.features))
            contexts[:, -1] = 1.0
            targets = random.normal(0.0, 0.05, size=40)
            evidence = [
                Evidence(0, context, target, 1.0)
                for context, target in zip(contexts, targets, strict=True)
            ]
            sums = folded([no_outcomes(schema.features, epoch=NOW)], evidence)[0]
            changed[arm.id, head] = StoredSums(1, 40, sums)
    return snapshot_of(policy, learned_version=1, changed=changed, previous=None, now=NOW)


def decided(snapshot, vector, *, id_):
    query = Query(policy="p", vector=vector)
    [context] = contexts_of(snapshot.schema, [query], encoder=None)
    return decide(snapshot, query, context, decision_id=id_, at=NOW).decision


def propensities_of(snapshot, decision):
    """(arms,) in the order of the snapshot's arms, as they were logged."""
    logged = {tuple(row["arm"].tolist()): row["propensity"] for row in decision.candidates}
    mask = 2**64 - 1
    return np.array([logged[arm.id.int >> 64, arm.id.int & mask] for arm in snapshot.arms])


def assert_agree(counts, propensities):
    """Within 4 standard errors where n P >= 25, else by an exact binomial test at 1e-6."""
    draws = counts.sum()
    for count, propensity in zip(counts.tolist(), propensities.tolist(), strict=True):
        if propensity in (0.0, 1.0):
            assert count == propensity * draws
        elif draws * min(propensity, 1 - propensity) >= 25:
            error = (propensity * (1 - propensity) / draws) ** 0.5
            assert abs(count / draws - propensity) < 4 * error
        else:
            assert binomtest(count, draws, propensity).pvalue > 1e-6


@pytest.mark.parametrize("settings", ALGORITHMS, ids=lambda s: f"{s.algorithm} {s.temperature}")
def test_arms_are_drawn_as_often_as_was_logged(settings):
    """
    200,000 distinct decision ids through the draw, from the vector that `decide` logged.

    Seeds are fixed, so this passes always or never.
    """
    snapshot = learned_snapshot(settings)
    propensities = propensities_of(snapshot, decided(snapshot, VECTORS[0], id_=decision_id(0, 0)))

    drawn = [
        draw(propensities, uniform_of(KEY, decision_id(0, position))) for position in range(BULK)
    ]

    assert_agree(np.bincount(drawn, minlength=ARMS), propensities)


@pytest.mark.parametrize("settings", ALGORITHMS, ids=lambda s: f"{s.algorithm} {s.temperature}")
def test_decisions_choose_arms_as_often_as_they_log(settings):
    """5,000 whole decisions, the contexts taken in turn, each context with its own propensities."""
    snapshot = learned_snapshot(settings)
    position_of = {arm.id: position for position, arm in enumerate(snapshot.arms)}
    counts = np.zeros((len(VECTORS), ARMS), dtype=int)
    propensities = np.zeros((len(VECTORS), ARMS))

    for position in range(WHOLE):
        which = position % len(VECTORS)
        decision = decided(snapshot, VECTORS[which], id_=decision_id(1, position))
        counts[which, position_of[decision.arm_id]] += 1
        if position < len(VECTORS):
            propensities[which] = propensities_of(snapshot, decision)
        assert decision.propensity == propensities[which, position_of[decision.arm_id]]

    for count, logged in zip(counts, propensities, strict=True):
        assert_agree(count, logged)


def test_the_thompson_vectors_under_test_are_worth_testing():
    """More than one arm is likely, and another is unlikely without being impossible."""
    vectors = [
        propensities_of(snapshot, decided(snapshot, vector, id_=decision_id(0, 0)))
        for snapshot in map(learned_snapshot, ALGORITHMS[:3])
        for vector in VECTORS
    ]

    assert sum((vector > 0.01).sum() > 1 for vector in vectors) >= 4
    assert any(((vector > 0) & (vector * BULK < 25)).any() for vector in vectors)
