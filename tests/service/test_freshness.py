"""Before a router says that something does not exist it looks again; on the store in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bandit.domain.decision import Decision, Recorded
from bandit.domain.errors import (
    BanditError,
    InvalidInput,
    Unavailable,
    UnknownArm,
    UnknownArmNamed,
    UnknownPolicy,
)
from bandit.domain.outcome import Report
from bandit.domain.policy import Policy, PolicyId
from bandit.domain.query import Query
from bandit.routing.budgets import Budgets
from bandit.routing.feedback import Feedback
from bandit.routing.ports import Versions
from bandit.routing.router import Answer, Router
from bandit.store.memory import MemoryStore
from services.router.freshness import FreshFeedback, FreshLearning, FreshRouter
from services.router.snapshots import ServedSnapshots
from tests.builders import NOW, a_decision, a_policy, a_uuid7, an_arm, an_event


class StoreThatLeaves(MemoryStore):
    """In memory; `is_away`: versions cannot be read; `keeps_days` False: no decision's day is."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False
        self.keeps_days = True

    def versions(self) -> dict[PolicyId, Versions]:
        if self.is_away:
            raise Unavailable("the database is away")
        return super().versions()

    async def record(self, decisions: Sequence[Decision]) -> Sequence[Recorded | Exception]:
        if not self.keeps_days:
            return [InvalidInput("decision_id", "is of a day that is not kept") for _ in decisions]
        return await super().record(decisions)


class NoEncoder:
    """Not used: the policies here take vectors."""

    name = "none"

    def embed(self, texts: list[str]) -> NDArray[np.float64]:
        raise AssertionError("there is no text here")


@dataclass(frozen=True)
class World:
    """A router that has read one policy and never polls."""

    store: StoreThatLeaves
    policy: Policy
    router: FreshRouter
    feedback: FreshFeedback
    learning: FreshLearning

    def add_arm_elsewhere(self, name: str) -> None:
        arms = (*self.policy.arms, an_arm(name))
        self.store.replace(replace(self.policy, version=2, arms=arms), an_event())

    def query(self, **fields: Any) -> Query:
        return Query(**({"policy": self.policy.name, "vector": np.ones(3)} | fields))

    async def select(self, query: Query) -> Answer:
        (answer,) = await self.router.select([query])
        return await self.router.settled(query, answer)

    def report(self, decision: Decision, **fields: Any) -> Report:
        fields = {"policy": self.policy.name, "arm": "small", "quality": 0.5} | fields
        return Report(decision_id=decision.id, **fields)


@pytest.fixture
async def world() -> World:
    store, policy = StoreThatLeaves(), a_policy()
    store.create(policy, an_event())
    snapshots = ServedSnapshots(store, store, clock=lambda: NOW, poll_interval_s=3600.0)
    assert await snapshots.refresh()
    router = Router(
        snapshots,
        store,
        NoEncoder(),
        store,
        budgets=Budgets(),
        clock=lambda: NOW,
        new_id=a_uuid7,
    )
    feedback = Feedback(snapshots, store, store, clock=lambda: NOW)
    return World(
        store,
        policy,
        FreshRouter(router, snapshots),
        FreshFeedback(feedback, snapshots),
        FreshLearning(store, store, snapshots, clock=lambda: NOW),
    )


async def test_an_arm_added_elsewhere_can_be_named_at_once(world: World) -> None:
    world.add_arm_elsewhere("newcomer")

    answer = await world.select(world.query(allow_arms=("newcomer",)))
    denied = await world.select(world.query(deny_arms=("newcomer",)))

    assert answer.recorded.decision.propensity == 1.0
    assert answer.policy.arm(answer.recorded.decision.arm_id).name == "newcomer"
    assert denied.policy.arm(denied.recorded.decision.arm_id).name != "newcomer"


async def test_an_arm_added_elsewhere_can_be_named_in_a_preview(world: World) -> None:
    world.add_arm_elsewhere("newcomer")

    answer = await world.router.preview(world.query(allow_arms=("newcomer",)))

    assert answer.policy.arm(answer.recorded.decision.arm_id).name == "newcomer"


async def test_an_arm_that_nobody_added_is_refused_by_the_path_of_its_field(world: World) -> None:
    with pytest.raises(UnknownArmNamed) as chosen:
        await world.select(world.query(allow_arms=("nobody",)))
    with pytest.raises(InvalidInput) as shown:
        await world.router.preview(world.query(allow_arms=("nobody",)))

    assert chosen.value.field == "allow_arms[0]"
    assert shown.value.field == "request.allow_arms[0]"


async def test_while_the_database_is_away_nothing_is_said_not_to_exist(world: World) -> None:
    decision = a_decision(world.policy)
    world.store.record_now([decision])
    world.store.is_away = True

    answers: list[Any] = [
        *await world.router.select_each(
            [world.query(policy="nobody"), world.query(allow_arms=("nobody",)), world.query()]
        ),
        *await world.feedback.report_each(
            [
                world.report(decision, policy="nobody"),
                world.report(decision, arm="nobody"),
                world.report(decision),
            ]
        ),
    ]

    assert [isinstance(answer, BanditError) for answer in answers] == [True, True, False] * 2
    assert all(isinstance(answers[position], Unavailable) for position in (0, 1, 3, 4))
    for call in (
        world.router.preview(world.query(policy="nobody")),
        world.router.preview(world.query(allow_arms=("nobody",))),
        world.learning.state("nobody"),
    ):
        with pytest.raises(Unavailable):
            await call


async def test_what_does_not_exist_is_said_so_while_the_database_is_there(world: World) -> None:
    decision = a_decision(world.policy)
    world.store.record_now([decision])

    with pytest.raises(UnknownPolicy):
        await world.select(world.query(policy="nobody"))
    with pytest.raises(UnknownArm):
        await world.feedback.report(world.report(decision, arm="nobody"))
    with pytest.raises(UnknownPolicy):
        await world.learning.state("nobody")


async def test_a_day_without_room_is_the_callers_fault_only_if_the_id_is(world: World) -> None:
    world.store.keeps_days = False

    ours, theirs = await world.router.select_each(
        [world.query(), world.query(decision_id=a_uuid7())]
    )

    assert isinstance(ours, Unavailable)
    assert isinstance(theirs, InvalidInput)
