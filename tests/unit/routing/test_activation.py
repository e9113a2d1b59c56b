from datetime import timedelta

from bandit.domain.errors import UnknownDecision, UnknownPolicy
from bandit.evaluation.stream import decision_id
from bandit.routing.activation import Activation, Wanted
from bandit.store.memory import MemoryStore
from tests.builders import NOW, a_decision, a_policy, a_uuid7, an_event
from tests.unit.routing.test_reporting import KnownPolicies


class World:
    """A policy with one stored decision that waits, and the activation of decisions."""

    def __init__(self):
        self.policy = a_policy("chat")
        self.store = MemoryStore()
        self.store.create(self.policy, an_event())
        self.decision = a_decision(self.policy, is_deferred=True)
        self.store.record_now([self.decision])
        self.activation = Activation(
            KnownPolicies(self.policy), self.store, self.store, clock=lambda: NOW
        )

    async def activate(self, *ids, policy="chat"):
        return await self.activation.activate([Wanted(policy, id_) for id_ in ids])


async def test_a_decision_is_activated_once_and_a_repetition_says_so():
    world = World()

    answers = [await world.activate(world.decision.id) for _ in range(2)]

    assert answers == [[False], [True]]
    stored = world.store.find_now(world.policy.id, [world.decision.id])[world.decision.id]
    assert stored.activated_at == NOW


async def test_one_that_fails_harms_no_other():
    world = World()

    unknown, done = await world.activate(decision_id(0, 0), world.decision.id)

    assert isinstance(unknown, UnknownDecision)
    assert done is False


async def test_an_unknown_decision_may_be_on_its_way():
    world = World()

    fresh, old = await world.activate(a_uuid7(NOW), a_uuid7(NOW - timedelta(hours=1)))

    assert (fresh.is_fresh, old.is_fresh) == (True, False)


async def test_an_unknown_policy_is_refused():
    world = World()

    (refusal,) = await world.activate(world.decision.id, policy="nobody")

    assert isinstance(refusal, UnknownPolicy)
