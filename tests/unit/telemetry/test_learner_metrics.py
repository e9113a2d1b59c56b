"""Micro-batches that are folded in memory, and what is counted of them."""

from datetime import timedelta

from bandit.routing.learner import fold_due
from bandit.store.memory import MemoryStore
from bandit.store.postgres.line import Line
from services.telemetry.instruments import Instruments
from services.telemetry.learner_metrics import LearnerMetrics
from tests.builders import NOW, a_decision, a_policy, an_event, an_outcome

LATER = NOW + timedelta(days=1)
MINUTE = timedelta(minutes=1)


class World:
    def __init__(self):
        self.policy = a_policy("chat")
        self.store = MemoryStore()
        self.store.create(self.policy, an_event())
        self.made = Instruments()
        self.lines = []
        self.metrics = LearnerMetrics(
            self.made,
            lines=lambda now: self.lines,
            policies=lambda: [self.policy],
            clock=lambda: LATER,
        )

    def value(self, name, **labels):
        return self.made.registry.get_sample_value(f"bandit_router_{name}", labels)


def test_what_is_folded_and_each_alarm_is_counted():
    """The first arm's quality is as foretold, then half of it is gone; the other one's stays."""
    world, raised, batches = World(), [], 0

    for number in range(40):
        at = NOW + number * MINUTE
        for arm, value in zip(world.policy.arms, (0.9 if number < 20 else 0.4, 0.9), strict=True):
            decisions = [a_decision(world.policy, arm=arm, at=at) for _ in range(10)]
            world.store.record_now(decisions)
            rows = [an_outcome(each, value=value) for each in decisions]
            world.store.append_now(world.policy.id, rows)
        folded = fold_due(world.store, world.policy, now=at + 2 * MINUTE)
        world.metrics.folded(world.policy, folded, 0.01)
        raised, batches = [*raised, *folded.alarms], batches + 1
    nothing = fold_due(world.store, world.policy, now=LATER)
    world.metrics.folded(world.policy, nothing, 0.01)

    drifted, steady = (arm.name for arm in world.policy.arms)
    labels = {"policy": "chat", "objective": "quality"}
    assert raised
    assert world.value("alarms_total", arm=drifted, **labels) == len(raised)
    assert world.value("alarms_total", arm=steady, **labels) == 0
    assert world.value("folded_outcomes_total", policy="chat") == 40 * 2 * 10
    assert world.value("fold_duration_seconds_count") == batches


def test_the_lines_are_told_by_the_names_of_their_policies_until_they_are_gone():
    world = World()
    world.lines = [Line(world.policy.id, 7, LATER - timedelta(seconds=90), 2)]

    world.metrics._look()
    seen = [
        world.value(name, policy="chat")
        for name in ("pending_outcomes", "pending_age_seconds", "quarantined")
    ]
    world.lines = []
    world.metrics._look()

    assert seen == [7, 90, 2]
    assert world.value("pending_age_seconds", policy="chat") == 0
