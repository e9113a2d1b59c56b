from dataclasses import replace
from datetime import timedelta
from itertools import count

import numpy as np

from bandit.domain.arm import ArmStatus
from bandit.domain.decision import DecisionId
from bandit.domain.errors import DecisionIdReused, InvalidInput, NoEligibleArm, UnknownPolicy
from bandit.domain.objective import Objective
from bandit.domain.policy import Algorithm, PolicySettings
from bandit.domain.preference import Preference
from bandit.domain.query import Query
from bandit.domain.reward_window import Deadline, RewardWindow
from bandit.evaluation.stream import decision_id
from bandit.learning.sums import Evidence, folded, no_outcomes
from bandit.routing.budgets import Budgets
from bandit.routing.ports import StoredSums
from bandit.routing.router import Router
from bandit.routing.snapshot import snapshot_of
from bandit.store.memory import MemoryStore
from tests.builders import A_CONTEXT, NOW, a_policy, a_uuid7, an_event

VECTOR = np.array([1.0, 2.0, 3.0])
MY_ID = decision_id(7, 7)
UNIFORM = PolicySettings(context=A_CONTEXT, algorithm=Algorithm.UNIFORM)


class Served:
    """Implements `Snapshots`: what a test has published last."""

    def __init__(self, *policies):
        self._snapshots = {}
        for policy in policies:
            self.publish(policy)

    def get(self, policy):
        if policy not in self._snapshots:
            raise UnknownPolicy(policy)
        return self._snapshots[policy]

    def publish(self, policy, changed=None):
        self._snapshots[policy.name] = snapshot_of(
            policy,
            learned_version=1,
            changed=changed or {},
            previous=self._snapshots.get(policy.name),
            now=NOW,
        )


class World:
    """A router on a store in memory, with one policy."""

    def __init__(self, settings=UNIFORM):
        self.policy = a_policy("chat", settings=settings)
        self.served = Served(self.policy)
        self.store = MemoryStore()
        self.store.create(self.policy, an_event())
        ids = count()
        self.router = Router(
            self.served,
            self.store,
            encoder=None,
            ledger=self.store,
            budgets=Budgets(),
            clock=lambda: NOW,
            new_id=lambda: decision_id(0, next(ids)),
        )

    async def select(self, *queries):
        return await self.router.select(queries)

    def stored(self, *ids):
        return self.store.find_now(self.policy.id, [DecisionId(id_) for id_ in ids])


def a_query(**changes):
    return Query(**{"policy": "chat", "vector": VECTOR, "fingerprint": b"request", **changes})


async def test_a_choice_is_recorded_before_it_is_answered():
    world = World()

    [answer] = await world.select(a_query())

    decision = answer.recorded.decision
    assert world.stored(decision.id) == {decision.id: decision}
    assert not answer.recorded.replayed
    assert answer.policy is world.policy


async def test_an_id_asked_again_gets_the_whole_first_answer():
    """Even after the state has moved on so far that another arm would be chosen."""
    world = World(PolicySettings(context=A_CONTEXT, algorithm=Algorithm.GREEDY))
    query = a_query(decision_id=MY_ID, tradeoff=Preference(quality=1.0))
    [first] = await world.select(query)
    evidence = [Evidence(0, np.array([0.0, 0.0, 0.0, 1.0]), -5.0, 1.0)] * 50
    ruined = folded([no_outcomes(4, epoch=NOW)], evidence)[0]
    cell = (first.recorded.decision.arm_id, Objective.QUALITY)
    world.served.publish(world.policy, {cell: StoredSums(1, 50, ruined)})

    [again] = await world.select(query)
    [other] = await world.select(replace(query, decision_id=None))

    assert again.recorded.replayed
    assert again.recorded.decision is first.recorded.decision
    assert other.recorded.decision.arm_id != first.recorded.decision.arm_id


async def test_an_id_asked_twice_in_one_batch_is_decided_once():
    world = World()

    first, second = await world.select(a_query(decision_id=MY_ID), a_query(decision_id=MY_ID))

    assert second.recorded.decision is first.recorded.decision
    assert [first.recorded.replayed, second.recorded.replayed] == [False, True]


async def test_an_id_used_for_another_request_is_refused():
    world = World()
    [first] = await world.select(a_query(decision_id=MY_ID))

    [refusal] = await world.select(a_query(decision_id=MY_ID, fingerprint=b"another"))

    assert isinstance(refusal, DecisionIdReused)
    assert world.stored(MY_ID)[MY_ID] is first.recorded.decision


async def test_a_bad_query_harms_no_other():
    world = World()
    queries = [
        a_query(vector=None),
        a_query(),
        a_query(policy="other"),
        a_query(deny_arms=("small", "large")),
        a_query(decision_id=a_uuid7(NOW.replace(year=9500))),
        a_query(),
    ]

    answers = await world.select(*queries)

    refused = [type(answer) for answer in answers if isinstance(answer, Exception)]
    assert refused == [InvalidInput, UnknownPolicy, NoEligibleArm, InvalidInput]
    made = [answers[1].recorded.decision.id, answers[5].recorded.decision.id]
    assert len(world.stored(*made)) == 2


async def test_an_id_answered_before_is_answered_even_if_no_arm_is_eligible_now():
    world = World()
    query = a_query(decision_id=MY_ID)
    [first] = await world.select(query)
    drained = tuple(replace(arm, status=ArmStatus.DRAINING) for arm in world.policy.arms)
    world.served.publish(replace(world.policy, version=2, arms=drained))

    [again] = await world.select(query)
    [new] = await world.select(a_query())

    assert again.recorded.decision is first.recorded.decision
    assert again.recorded.replayed
    assert isinstance(new, NoEligibleArm)


async def test_no_queries_get_no_answers():
    assert await World().select() == []


async def test_a_preview_is_what_would_be_chosen_and_is_recorded_nowhere():
    world = World()
    query = a_query(decision_id=MY_ID)

    preview = world.router.preview(query)

    assert world.stored(MY_ID) == {}
    assert not preview.recorded.durable
    [selected] = await world.select(query)
    assert selected.recorded.decision.arm_id == preview.recorded.decision.arm_id
    assert not selected.recorded.replayed


async def test_a_decision_keeps_the_windows_that_were_in_force_when_it_was_made():
    windows = {Objective.QUALITY: RewardWindow(24, 0.5), Objective.COST: RewardWindow(1)}
    world = World(replace(UNIFORM, reward_windows=windows))
    await world.select(a_query(decision_id=MY_ID))
    world.served.publish(replace(world.policy, settings=UNIFORM, version=2))

    (answer,) = await world.select(a_query(decision_id=MY_ID))
    (later,) = await world.select(a_query())

    assert answer.recorded.replayed
    assert answer.recorded.decision.deadlines == {
        Objective.QUALITY: Deadline(NOW + timedelta(hours=24), 0.5),
        Objective.COST: Deadline(NOW + timedelta(hours=1)),
    }
    assert later.recorded.decision.deadlines == {}


async def test_a_decision_waits_for_its_activation_if_the_query_says_so():
    world = World()

    waiting, active = await world.select(a_query(defer_activation=True), a_query())

    assert not waiting.recorded.decision.is_active
    assert active.recorded.decision.is_active
