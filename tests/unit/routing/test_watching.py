"""The watch for change while outcomes are folded, and what alarms do to the sums."""

import random
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from bandit.domain.objective import Objective
from bandit.domain.policy import Detector, DriftSettings, PolicySettings
from bandit.features.schema import schema_of
from bandit.learning.alarms import WEIGHT_AFTER_ALARM, Direction
from bandit.learning.decay import Forgetting, as_of
from bandit.learning.drift import LEAST_WEIGHT
from bandit.routing.learner import fold_due
from bandit.store.memory import MemoryStore
from tests.builders import A_CONTEXT, NOW, a_decision, a_policy, an_event, an_outcome
from tests.drifting import (
    drifting_decisions,
    drifting_outcomes,
    latest_values,
    sums_from_the_log,
)

QUALITY = Objective.QUALITY
SCHEMA = schema_of(A_CONTEXT)
LATER = NOW + timedelta(days=1)
MINUTE = timedelta(minutes=1)
YOUNG = int(LEAST_WEIGHT)


class World:
    """A policy, and decisions for its first arm that all expect a quality of 0.9."""

    def __init__(self, drift=DriftSettings()):  # noqa: B008 - frozen
        self.policy = a_policy(settings=PolicySettings(context=A_CONTEXT, drift=drift))
        self.store = MemoryStore()
        self.store.create(self.policy, an_event())
        self.cell = (self.policy.arms[0].id, QUALITY)
        self.alarms = []
        self.made = 0

    def decide(self, count):
        """So many decisions more, a minute apart."""
        decisions = [
            a_decision(self.policy, at=NOW + (self.made + number) * MINUTE)
            for number in range(count)
        ]
        self.made += count
        self.store.record_now(decisions)
        return decisions

    def tell(self, decisions, value, *, sequence=0, one_by_one=False):
        """Outcomes of these decisions, folded together or one after another."""
        for batch in [[each] for each in decisions] if one_by_one else [decisions]:
            rows = [an_outcome(each, value=value, sequence=sequence) for each in batch]
            self.store.append_now(self.policy.id, rows)
            self.fold()

    def fold(self, *, limit=1000, now=None):
        """At the moment of the next decision; outcomes take a minute."""
        now = now or NOW + self.made * MINUTE
        folded = fold_due(self.store, self.policy, now=now, limit=limit)
        self.alarms.extend(folded.alarms)

    def weight(self):
        """Of the outcomes in the sums, as the latest fold had them."""
        stored, now = self.stored(), NOW + self.made * MINUTE
        return as_of(stored.sums, now, Forgetting(None, stored.alarms)).weight

    def stored(self):
        return self.store.learned(self.policy.id, SCHEMA.id, known={})[1][self.cell]

    def monitor(self):
        with self.store.begin(self.policy.id) as fold:
            return fold.monitors([self.cell])[self.cell]


@pytest.mark.parametrize("kind", [kind for kind in Detector if kind is not Detector.OFF])
@pytest.mark.parametrize("one_by_one", [True, False])
def test_an_arm_that_gets_worse_raises_an_alarm(kind, one_by_one):
    world = World(DriftSettings(quality=kind))
    world.tell(world.decide(60), 0.9)
    world.tell(world.decide(60), 0.9)

    world.tell(world.decide(60), 0.1, one_by_one=one_by_one)

    first = world.alarms[0]
    assert (first.cell, first.finding.direction) == (world.cell, Direction.DOWN)
    assert 120 * MINUTE <= first.alarm.at - NOW < 160 * MINUTE
    stored = world.stored()
    assert stored.alarms == tuple(raised.alarm for raised in world.alarms)


def test_cusum_finds_residuals_of_three_at_the_fifth_and_then_what_was_counts_little():
    """Each residual is (0.1 - 0.9) / sqrt(0.06) or further: clipped to -3, of which 2.5 count."""
    world = World()
    before = world.decide(60)
    world.tell(before, 0.9)

    world.tell(world.decide(5), 0.1, one_by_one=True)

    (raised,) = world.alarms
    assert raised.finding.statistic == pytest.approx(12.5)
    assert raised.observations == 5
    assert raised.alarm.at == NOW + 64 * MINUTE
    assert world.stored().sums.weight == pytest.approx(65 * WEIGHT_AFTER_ALARM)
    assert world.monitor().memory == ()


def test_an_alarm_is_told_to_people_as_an_event_of_the_policy():
    world = World()
    world.tell(world.decide(60), 0.9)
    world.tell(world.decide(5), 0.1)

    event = world.store._states[world.policy.id].events[-1]

    assert (event.who, event.kind) == ("learner", "drift_alarm")
    assert event.at == NOW + 65 * MINUTE
    assert event.detail["arm"] == world.policy.arms[0].name
    assert (event.detail["objective"], event.detail["direction"]) == ("quality", "down")


def test_a_young_posterior_is_not_watched():
    world = World()

    world.tell(world.decide(YOUNG + 1), 0.0, one_by_one=True)
    assert world.monitor().observations == 0

    world.tell(world.decide(1), 0.0)
    assert world.monitor().observations == 1


def test_what_was_decided_from_the_prior_is_not_watched_however_late_it_is_told():
    """A day's decisions before the first rating expect the optimistic prior, all of them."""
    world = World()

    world.tell(world.decide(400), 0.3, one_by_one=True)

    assert world.alarms == []
    assert world.monitor().observations == 0


def test_after_an_alarm_the_watch_rests_until_as_much_was_learned_again():
    world = World()
    world.tell(world.decide(60), 0.9)
    world.tell(world.decide(5), 0.1)
    told = 0

    while world.monitor().observations == 0:
        grown_to = world.weight()
        world.tell(world.decide(1), 0.9)
        told += 1

    assert YOUNG < grown_to < YOUNG + 1
    assert told >= YOUNG - 65 * WEIGHT_AFTER_ALARM


def test_the_watch_rests_for_what_is_folded_together_with_the_alarm():
    world = World()
    world.tell(world.decide(60), 0.9)
    worse, after = world.decide(5), world.decide(20)
    rows = [an_outcome(each, value=0.1) for each in worse]
    rows += [an_outcome(each, value=0.9) for each in after]
    world.store.append_now(world.policy.id, rows)

    world.fold()

    assert len(world.alarms) == 1
    assert world.monitor().observations == 0
    alarm = world.alarms[0].alarm
    faded = [(1 + number / 60 / alarm.fading_hours) ** 3 for number in range(1, 21)]
    held = as_of(world.stored().sums, alarm.at, Forgetting(None, (alarm,)))
    assert held.weight == pytest.approx(65 * WEIGHT_AFTER_ALARM + sum(faded))


def test_decisions_up_to_the_last_alarm_are_not_watched():
    """What they expected is from before it: late, they would raise the same alarm again."""
    world = World()
    late, early = world.decide(40), world.decide(60)
    world.tell(early, 0.9)
    world.tell(world.decide(5), 0.1)
    world.tell(world.decide(60), 0.9)
    seen = world.monitor().observations

    world.tell(late, 0.0)

    assert len(world.alarms) == 1
    assert world.monitor().observations == seen


def test_corrections_are_not_watched():
    world = World()
    decisions = world.decide(60)
    world.tell(decisions, 0.9)
    seen = world.monitor()

    world.tell(decisions, 0.0, sequence=1)

    assert world.alarms == []
    assert world.monitor() == seen


def test_nothing_is_watched_where_it_is_off():
    world = World(DriftSettings(quality=Detector.OFF))
    world.tell(world.decide(60), 0.9)

    world.tell(world.decide(60), 0.0)

    assert world.alarms == []
    assert world.stored().sums.weight == pytest.approx(120)
    assert world.monitor().latest == NOW + 119 * MINUTE


def test_another_detector_begins_anew():
    world = World()
    world.tell(world.decide(60), 0.9)
    world.tell(world.decide(4), 0.1)
    other = PolicySettings(context=A_CONTEXT, drift=DriftSettings(quality=Detector.PAGE_HINKLEY))
    world.policy = replace(world.policy, settings=other)

    world.tell(world.decide(1), 0.1)

    assert world.alarms == []
    assert (world.monitor().detector, world.monitor().observations) == (Detector.PAGE_HINKLEY, 1)


def test_sums_from_before_there_were_monitors_count_as_decided_by_now():
    world = World()
    world.tell(world.decide(60), 0.9)
    world.store._states[world.policy.id].monitors.clear()

    world.tell(world.decide(1), 0.9)

    assert world.monitor().latest == NOW + 61 * MINUTE  # when it was folded; decided a minute ago


def test_with_a_half_life_both_discounts_multiply():
    settings_ = PolicySettings(context=A_CONTEXT, half_life_hours={QUALITY: 24.0})
    world = World()
    world.policy = replace(world.policy, settings=settings_)
    world.tell(world.decide(100), 0.9)
    world.tell(world.decide(5), 0.1)

    assert len(world.alarms) == 1
    alarms = world.stored().alarms
    sums = as_of(world.stored().sums, LATER, Forgetting(24.0, alarms))
    ages = [(LATER - NOW - number * MINUTE).total_seconds() / 3600 for number in range(105)]
    fading = alarms[0].fading_hours
    faded = (fading / (fading + (LATER - alarms[0].at).total_seconds() / 3600)) ** 3
    expected = faded * WEIGHT_AFTER_ALARM * sum(2.0 ** (-age / 24) for age in ages)
    assert sums.weight == pytest.approx(expected, rel=1e-9)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    delay=st.sampled_from([0.0, 5.0, 60.0]),
    kind=st.sampled_from([Detector.CUSUM, Detector.CUSUM, Detector.ADWIN, Detector.PAGE_HINKLEY]),
)
def test_the_sums_are_those_of_the_log_with_its_alarms(seed, delay, kind):
    """Decisions, effective values and alarms, in any order and batches, late and corrected."""
    rng = random.Random(seed)
    world = World(DriftSettings(kind, kind, kind))
    decisions = drifting_decisions(world.policy, rng)
    world.store.record_now(decisions)
    rows = drifting_outcomes(decisions, rng, delay=delay)

    sent = list(rows)
    while sent:
        size = rng.randint(1, 40)
        world.store.append_now(world.policy.id, sent[:size])
        sent = sent[size:]
        now = max(row.received_at for row in rows[: len(rows) - len(sent)])
        if rng.random() < 0.7:
            world.fold(limit=rng.randint(1, 50), now=now)
    while world.store.pending(world.policy.id):
        world.fold(now=LATER)

    alarms = {}
    for raised in world.alarms:
        alarms.setdefault(raised.cell, []).append(raised.alarm)
    expected = sums_from_the_log(decisions, latest_values(rows), alarms, now=LATER)
    stored = world.store.learned(world.policy.id, SCHEMA.id, known={})[1]
    assert alarms or kind is not Detector.CUSUM
    assert set(stored) == set(expected)
    for cell, wanted in expected.items():
        tolerance = 1e-9 * (1 + np.abs(wanted).max())
        held = as_of(stored[cell].sums, LATER, Forgetting(None, stored[cell].alarms))
        assert_allclose(held.values, wanted, rtol=0, atol=tolerance)
        assert stored[cell].alarms == tuple(alarms.get(cell, []))
