"""Whatever happened before, the log gives the state that the learner came to, and can be cut."""

import random
from datetime import timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bandit.domain.objective import Objective
from bandit.domain.policy import PolicySettings
from bandit.features.schema import schema_of
from bandit.learning.decay import Forgetting, as_of
from bandit.routing.learner import fold_due
from bandit.routing.rebuild_rules import Asked
from bandit.routing.rebuilding import rebuild
from bandit.store.memory import MemoryStore
from bandit.store.memory_history import MemoryHistory
from tests.builders import A_CONTEXT, NOW, a_decision, a_policy, an_event, an_outcome

LATER = NOW + timedelta(days=2)
SCHEMA = schema_of(A_CONTEXT).id
MINUTE = timedelta(minutes=1)
LENGTH = 200


class World:
    """A policy of one busy arm that changes half-way, told of by two sources."""

    def __init__(self, seed, *, half_life_hours=None):
        self.rng = random.Random(seed)
        kept = PolicySettings(context=A_CONTEXT, half_life_hours=half_life_hours or {})
        self.policy = a_policy(settings=kept)
        self.store = MemoryStore()
        self.store.create(self.policy, an_event())
        self.history = MemoryHistory(self.store)
        self.decisions = [self._decision(number) for number in range(LENGTH)]
        self.store.record_now(self.decisions)

    def _decision(self, number):
        context = [*np.random.default_rng(number).uniform(-1, 1, size=3), 1.0]
        arm = self.policy.arms[0 if number % 6 else 1]
        return a_decision(self.policy, at=NOW + number * MINUTE, arm=arm, context=context)

    def live(self, start, end):
        """Outcomes of these decisions, late, corrected and repeated, folded in odd batches."""
        for number in range(start, end):
            decision = self.decisions[self.rng.randint(max(0, number - 8), number)]
            quality = 0.9 if number < LENGTH // 2 else 0.2
            row = an_outcome(
                decision,
                self.rng.choice([Objective.QUALITY, Objective.QUALITY, Objective.COST]),
                value=min(max(self.rng.gauss(quality, 0.05), 1e-6), 1.0),
                source=self.rng.choice(["judge", "judge", "user"]),
                sequence=self.rng.randint(0, 2),
                received_at=NOW + number * MINUTE + timedelta(seconds=self.rng.random()),
            )
            self.store.append_now(self.policy.id, [row, row])
            if self.rng.random() < 0.4:
                now = NOW + (number + 1) * MINUTE
                fold_due(self.store, self.policy, now=now, limit=self.rng.randint(1, 4))
        while self.store.pending(self.policy.id):
            fold_due(self.store, self.policy, now=NOW + end * MINUTE)

    def rebuild(self, now=LATER, **asked):
        return rebuild(self.history, self.policy, Asked(**asked), now=now, who="ann")

    def sums(self):
        _, cells = self.store.learned(self.policy.id, SCHEMA, known={})
        half_lives = self.policy.settings.half_life_hours
        return {
            cell: as_of(held.sums, LATER, Forgetting(half_lives.get(cell[1]), held.alarms)).values
            for cell, held in cells.items()
        }


def assert_same(result):
    for each in result.cells:
        assert each.before.observations == each.after.observations
        assert each.difference <= 1e-9 * (1 + each.scale)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), half_life=st.sampled_from([None, 0.5, 24.0]))
def test_any_history_is_rebuilt_as_it_was_learned(seed, half_life):
    half_lives = {} if half_life is None else {Objective.QUALITY: half_life}
    world = World(seed, half_life_hours=half_lives)
    world.live(0, LENGTH)

    assert_same(world.rebuild())
    assert_same(world.rebuild(promote=True))
    assert_same(world.rebuild())


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), cut=st.integers(5, LENGTH - 5), more=st.booleans())
def test_a_rollback_at_any_moment_gives_the_snapshot_and_learning_goes_on(seed, cut, more):
    world = World(seed)
    world.live(0, cut)
    at = NOW + cut * MINUTE
    snapshot = world.history.keep_scheduled(world.policy.id, now=at, every=timedelta(hours=1))
    then = world.sums()
    world.live(cut + 1, LENGTH)

    result = world.rebuild(snapshot_id=snapshot, promote=True)

    assert all(each.difference <= 1e-9 * (1 + each.scale) for each in result.against_snapshot)
    now = world.sums()
    for cell, wanted in then.items():
        assert np.abs(now[cell] - wanted).max() <= 1e-9 * (1 + np.abs(wanted).max())
    if more:
        rows = [
            an_outcome(decision, value=0.4, sequence=9, received_at=LATER)
            for decision in world.decisions[:20]
        ]
        world.store.append_now(world.policy.id, rows)
        while world.store.pending(world.policy.id):
            fold_due(world.store, world.policy, now=LATER)
        assert_same(world.rebuild(now=LATER + MINUTE))


def test_these_histories_raise_alarms():
    """Or the tests above would show less than they say."""
    raised = 0
    for seed in range(10):
        world = World(seed)
        world.live(0, LENGTH)
        raised += sum(len(alarms) for alarms in world.store.state(world.policy.id).alarms.values())

    assert raised >= 5
