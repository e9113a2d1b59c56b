"""A query gets the same answer in company as alone, to the last bit, whatever the state."""

from dataclasses import replace

import numpy as np
import pytest

from bandit.domain.arm import ArmStatus
from bandit.domain.errors import BanditError, NoEligibleArm
from bandit.domain.objective import HEADS
from bandit.domain.policy import Algorithm, ContextSettings, ContextSource, CostForm, PolicySettings
from bandit.domain.preference import Preference, WillingnessToPay
from bandit.domain.price import Price
from bandit.domain.query import Query
from bandit.evaluation.stream import decision_id
from bandit.features.schema import contexts_of, schema_of
from bandit.learning.sums import Evidence, folded, no_outcomes
from bandit.routing.deciding import Asked, decide, decide_each, scores_of
from bandit.routing.ports import StoredSums
from bandit.routing.snapshot import snapshot_of
from tests.builders import NOW, a_policy, an_arm

LENGTH = 5


def one_of(random, things):
    """As they are: numpy's own choice makes its strings and numbers of them."""
    return things[random.integers(len(things))]


def some_snapshot(random):
    """A policy of 1 to 8 arms in every status, with 0 to 30 outcomes per arm and head."""
    settings = PolicySettings(
        context=ContextSettings(source=ContextSource.VECTOR, vector_length=LENGTH),
        algorithm=one_of(random, list(Algorithm)),
        cost_form=one_of(random, list(CostForm)),
        temperature=random.uniform(0, 1),
    )
    statuses = [ArmStatus.ACTIVE, ArmStatus.ACTIVE, ArmStatus.EXPLORE, ArmStatus.SHADOW]
    arms = [
        an_arm(
            f"arm {number}",
            status=one_of(random, statuses),
            price=one_of(random, [None, Price(*random.uniform(0, 10, size=2))]),
            context_window_tokens=one_of(random, [None, 1000, 4000]),
        )
        for number in range(random.integers(1, 9))
    ]
    policy = replace(a_policy(settings=settings, arms=arms), key=random.bytes(32))
    schema = schema_of(settings.context)
    learned = {}
    for arm in policy.arms:
        for head in HEADS:
            count = random.integers(0, 31)
            contexts = random.normal(size=(count, schema.features))
            targets = random.normal(0, 0.3, size=count)
            evidence = [Evidence(0, *pair, 1.0) for pair in zip(contexts, targets, strict=True)]
            (sums,) = folded([no_outcomes(schema.features, epoch=NOW)], evidence)
            learned[arm.id, head] = StoredSums(1, int(count), sums)
    return snapshot_of(policy, learned_version=1, changed=learned, previous=None, now=NOW)


def some_query(random, names):
    tradeoffs = [None, Preference(*random.uniform(0.01, 1, size=3)), WillingnessToPay(0.01)]
    constraints = {
        "allow_arms": (one_of(random, names), one_of(random, names)),
        "deny_arms": (one_of(random, names),),
        "max_cost_usd": float(random.lognormal(-6, 2)),
        "max_latency_ms": float(random.lognormal(7, 2)),
        "min_quality": float(random.uniform(0, 1)),
        "switch_cost_usd": {one_of(random, names): float(random.lognormal(-6, 2))},
        "max_output_tokens": int(random.integers(1, 1000)),
    }
    chosen = {name: value for name, value in constraints.items() if random.uniform() < 0.15}
    return Query(
        policy="p",
        vector=random.normal(size=LENGTH),
        tradeoff=one_of(random, tradeoffs),
        input_tokens=int(random.integers(1, 5000)),
        **chosen,
    )


def same(alone, together):
    if isinstance(alone, BanditError):
        return type(alone) is type(together) and str(alone) == str(together)
    before, after = alone.decision, together.decision
    return (before.arm_id, before.propensity, before.list_usd, before.candidates.tobytes()) == (
        after.arm_id,
        after.propensity,
        after.list_usd,
        after.candidates.tobytes(),
    ) and np.array_equal(before.context, after.context)


def decided_alone(snapshot, query, id_):
    [context] = contexts_of(snapshot.schema, [query], encoder=None)
    try:
        return decide(snapshot, query, context, decision_id=id_, at=NOW)
    except NoEligibleArm as error:
        return error


def differing(seed, *, states, company):
    """How many of so many queries in each of so many states have another answer in company."""
    random = np.random.default_rng(seed)
    count = 0
    for state in range(states):
        snapshot = some_snapshot(random)
        names = [arm.name for arm in snapshot.arms]
        queries = [some_query(random, names) for _ in range(company)]
        ids = [decision_id(seed, state * company + number) for number in range(company)]
        contexts = contexts_of(snapshot.schema, queries, encoder=None)
        asked = [Asked(*each, NOW) for each in zip(queries, contexts, ids, strict=True)]
        together = decide_each(snapshot, asked, scores_of(snapshot, asked))
        count += sum(
            not same(decided_alone(snapshot, query, id_), answer)
            for query, id_, answer in zip(queries, ids, together, strict=True)
        )
    return count


@pytest.mark.parametrize("company", [2, 7, 40])
def test_company_changes_nothing(company):
    assert differing(company, states=400 // company, company=company) == 0
