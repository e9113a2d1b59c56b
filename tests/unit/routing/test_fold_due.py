import random as randoms
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from bandit.domain.objective import HEADS, Objective
from bandit.domain.policy import PolicySettings
from bandit.features.schema import schema_of
from bandit.learning.decay import Forgetting, as_of
from bandit.learning.sums import Sums, no_outcomes
from bandit.learning.targets import target_of
from bandit.routing.learner import HOLD, Folded, fold_due
from bandit.routing.ports import StoredSums
from bandit.store.memory import MemoryStore
from tests.builders import A_CONTEXT, NOW, a_decision, a_policy, an_event, an_outcome

QUALITY = Objective.QUALITY
SCHEMA = schema_of(A_CONTEXT)
LATER = NOW + timedelta(days=1)
DECISIONS = 5
HALF_LIVES = {Objective.QUALITY: 12.0, Objective.COST: 0.1}


class World:
    """A policy with decisions a few hours apart, alternating between its two arms."""

    def __init__(self, half_life_hours=None, *, hours_apart=5):
        self.policy = a_policy(
            settings=PolicySettings(context=A_CONTEXT, half_life_hours=half_life_hours or {})
        )
        self.store = MemoryStore()
        self.store.create(self.policy, an_event())
        self.decisions = [self._decision(number, hours_apart) for number in range(DECISIONS)]
        self.store.record_now(self.decisions)

    def _decision(self, number, hours_apart):
        return a_decision(
            self.policy,
            at=NOW - timedelta(hours=hours_apart * number),
            arm=self.policy.arms[number % 2],
            context=[*np.random.default_rng(number).uniform(-3, 3, size=3), 1.0],
        )

    def tell(self, *outcomes):
        """Append (decision's number, head, value, source, sequence) rows."""
        rows = [
            an_outcome(self.decisions[number], head, value=value, source=source, sequence=sequence)
            for number, head, value, source, sequence in outcomes
        ]
        return self.store.append_now(self.policy.id, rows)

    def fold(self, *, limit=1000, now=LATER):
        return fold_due(self.store, self.policy, now=now, limit=limit)

    def fold_all(self):
        while self.store.pending(self.policy.id):
            self.fold()

    def cells(self):
        return self.store.learned(self.policy.id, SCHEMA.id, known={})[1]

    def cell(self, arm, head=QUALITY):
        return (self.policy.arms[arm].id, head)

    def put(self, cell, stored):
        """Store these sums of a cell, whatever they are."""
        with self.store.begin(self.policy.id) as fold:
            fold.write(schema_id=SCHEMA.id, sums={cell: stored}, contributions={})


def outcome(number, value=0.5, *, head=QUALITY, source="judge", sequence=0):
    return (number, head, value, source, sequence)


def by_definition(world, values):
    """(arm, head) to the sums over {(number, head): value}, decayed to LATER; plain NumPy."""
    sums = {}
    for (number, head), value in values.items():
        decision = world.decisions[number]
        half_life = world.policy.settings.half_life_hours.get(head, np.inf)
        weight = 2.0 ** -((LATER - decision.at).total_seconds() / 3600 / half_life)
        y = target_of(head, value, list_usd=decision.list_usd, quality_prior_mean=0.9)
        x = decision.context.astype(float)
        gram = np.outer(x, x)[np.tril_indices(len(x))]
        added = weight * np.concatenate([gram, x * y, [y * y, 1.0]])
        cell = (number % 2, head)
        sums[cell] = sums.get(cell, 0.0) + added
    return sums


def assert_learned(world, values):
    """The stored sums are those of the definition, within 1e-9 (1 + the largest of them)."""
    expected = by_definition(world, values)
    cells = world.cells()
    assert set(cells) == {world.cell(*cell) for cell in expected}
    for cell, wanted in expected.items():
        half_life = world.policy.settings.half_life_hours.get(cell[1])
        sums = as_of(cells[world.cell(*cell)].sums, LATER, Forgetting(half_life))
        assert_allclose(sums.values, wanted, rtol=0, atol=1e-9 * (1 + np.abs(wanted).max()))


def test_one_outcome_is_folded_once():
    world = World()
    world.tell(outcome(0, 0.4))

    folded = world.fold()

    assert (folded.settled, folded.held, folded.learned_version) == (1, 0, 1)
    assert_learned(world, {(0, QUALITY): 0.4})
    assert list(folded.written) == [world.cell(0, QUALITY)]
    assert world.store.pending(world.policy.id) == 0
    assert world.fold() == Folded()


def test_an_outcome_sent_twice_counts_once():
    world = World()
    world.tell(outcome(0, 0.4), outcome(0, 0.4))
    world.fold()
    world.tell(outcome(0, 0.8))

    world.fold_all()

    assert_learned(world, {(0, QUALITY): 0.4})
    assert world.cells()[world.cell(0)].observations == 1


def test_a_correction_replaces_what_was_counted():
    world = World()
    world.tell(outcome(0, 0.4), outcome(2, 0.7))
    world.fold()
    world.tell(outcome(0, 0.9, sequence=1))

    world.fold()

    assert_learned(world, {(0, QUALITY): 0.9, (2, QUALITY): 0.7})
    stored = world.cells()[world.cell(0)]
    assert (stored.observations, stored.version) == (2, 2)


def test_a_second_source_makes_it_their_mean():
    world = World()
    world.tell(outcome(0, 0.4))
    world.fold()
    world.tell(outcome(0, 1.0, source="user"))

    world.fold()

    assert_learned(world, {(0, QUALITY): 0.7})


def test_a_correction_to_the_same_value_changes_no_sums():
    world = World()
    world.tell(outcome(0, 0.4))
    world.fold()
    world.tell(outcome(0, 0.4, sequence=1))

    folded = world.fold()

    assert (folded.settled, folded.learned_version) == (1, None)
    assert world.cells()[world.cell(0)].version == 1


@settings(deadline=None, max_examples=60)
@given(
    values=st.dictionaries(
        st.tuples(
            st.integers(0, DECISIONS - 1),
            st.sampled_from(HEADS),
            st.sampled_from(["judge", "user"]),
            st.integers(0, 2),
        ),
        st.floats(1e-6, 1.0),
        min_size=1,
        max_size=20,
    ),
    seed=st.integers(0, 2**32 - 1),
    half_lives=st.sampled_from([{}, HALF_LIVES]),
)
def test_any_order_batches_and_repetitions_give_the_sums_of_the_definition(
    values, seed, half_lives
):
    """What counts: of each source the highest sequence, averaged over sources."""
    world, random = World(half_lives), randoms.Random(seed)
    sent = [
        (number, head, value, source, sequence)
        for (number, head, source, sequence), value in values.items()
    ]
    sent = random.choices(sent, k=5) + random.sample(sent, len(sent))

    while sent:
        size = random.randint(1, 6)
        world.tell(*sent[:size])
        sent = sent[size:]
        if random.random() < 0.5:
            world.fold(limit=random.randint(1, 4))
    world.fold_all()

    latest = {}
    for number, head, source, sequence in sorted(values):
        latest[number, head, source] = values[number, head, source, sequence]
    counted = {}
    for (number, head, _), value in latest.items():
        counted.setdefault((number, head), []).append(value)
    assert_learned(world, {key: np.mean(each) for key, each in counted.items()})


def test_an_outcome_many_half_lives_late_harms_nothing():
    """Two days are 2,880 half-lives of a minute: 2^2880 is beyond any float."""
    world = World({QUALITY: 1 / 60}, hours_apart=24)
    world.tell(outcome(0, 0.4))
    world.fold()
    world.tell(outcome(2, 0.9))

    world.fold()

    stored = world.cells()[world.cell(0)]
    assert stored.observations == 2
    assert as_of(stored.sums, NOW, Forgetting(1 / 60)).weight == pytest.approx(1.0)


def corrupt_sums():
    values = np.full_like(no_outcomes(SCHEMA.features, epoch=NOW).values, np.nan)
    return StoredSums(1, 3, Sums(values, SCHEMA.features, NOW))


@pytest.mark.parametrize(
    "broken",
    [corrupt_sums(), StoredSums(1, 3, None, fault="checksum")],
    ids=["not finite", "unreadable"],
)
def test_outcomes_of_a_corrupt_cell_are_held_while_the_others_fold(broken):
    world = World()
    world.put(world.cell(0), broken)
    world.tell(outcome(0, 0.4), outcome(1, 0.6))

    folded = world.fold()

    assert (folded.settled, folded.held) == (1, 1)
    assert set(folded.faults) == {world.cell(0)}
    cells = world.cells()
    assert cells[world.cell(0)] is broken
    assert cells[world.cell(1)].observations == 1


def test_a_held_outcome_is_tried_again_later():
    world = World()
    world.put(world.cell(0), corrupt_sums())
    world.tell(outcome(0, 0.4))
    world.fold()
    mended = no_outcomes(SCHEMA.features, epoch=NOW)
    world.put(world.cell(0), StoredSums(2, 0, mended))

    too_early, in_time = (world.fold(now=LATER + pause) for pause in (HOLD / 2, HOLD))

    assert (too_early.settled, in_time.settled) == (0, 1)
    assert_learned(world, {(0, QUALITY): 0.4})


def test_decisions_of_another_schema_are_settled_without_learning():
    world = World()
    old = replace(a_decision(world.policy), schema_id="0" * 16)
    world.store.record_now([old])
    world.store.append_now(world.policy.id, [an_outcome(old)])

    folded = world.fold()

    assert (folded.settled, folded.learned_version) == (1, None)
    assert world.cells() == {}


def test_at_most_the_limit_is_folded_at_once():
    world = World()
    world.tell(*[outcome(number) for number in range(5)])

    folded = world.fold(limit=2)

    assert folded.settled == 2
    assert world.store.pending(world.policy.id) == 3


def test_a_policy_that_another_learner_holds_is_left_alone():
    world = World()
    world.tell(outcome(0))

    with world.store.begin(world.policy.id):
        folded = world.fold()

    assert folded is None
    assert world.store.pending(world.policy.id) == 1
