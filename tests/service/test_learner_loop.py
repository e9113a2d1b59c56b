"""The learner's loop on the store in memory: every policy has its turn."""

import time
from collections.abc import Callable
from contextlib import contextmanager
from datetime import datetime, timedelta
from threading import Event
from typing import Any

from structlog.testing import capture_logs

from bandit.domain.errors import Conflict, Contended, Unavailable
from bandit.domain.policy import Policy, PolicyId
from bandit.routing.learner import MICRO_BATCH
from bandit.store.memory import MemoryStore
from services.learner.loop import MOST_ATTEMPTS, Learner
from tests.builders import NOW, a_decision, a_policy, an_event, an_outcome


class WatchedStore(MemoryStore):
    """Keeps the order in which policies are folded; stops the loop when nothing is due."""

    def __init__(self) -> None:
        super().__init__()
        self.stopping = Event()
        self.folded: list[PolicyId] = []
        self.rounds = 0
        self.refusals = 0
        self.collisions: list[Exception] = []

    def with_due(self, count: int) -> Policy:
        policy = a_policy()
        self.create(policy, an_event())
        decisions = [a_decision(policy) for _ in range(count)]
        self.record_now(decisions)
        self.append_now(policy.id, [an_outcome(decision) for decision in decisions])
        return policy

    def policies_with_due(self, *, now: datetime) -> Any:
        self.rounds += 1
        if self.refusals:
            self.refusals -= 1
            raise Unavailable("the database is away")
        due = super().policies_with_due(now=now)
        if not due:
            self.stopping.set()
        return due

    @contextmanager
    def begin(self, policy_id: PolicyId) -> Any:
        self.folded.append(policy_id)
        if self.collisions:
            raise self.collisions.pop()
        with super().begin(policy_id) as fold:
            yield fold


def run(
    store: WatchedStore,
    *,
    interval_s: float = 0.0,
    now: datetime = NOW + timedelta(days=365),
    keep_snapshot: Callable[[Policy, datetime], int | None] = lambda policy, at: None,
) -> None:
    learner = Learner(
        store,
        store,
        make_partitions=lambda _: 0,
        graduate=lambda policy, at: [],
        keep_snapshot=keep_snapshot,
        clock=lambda: now,
        interval_s=interval_s,
    )
    learner.run(store.stopping)


def test_a_policy_with_a_long_line_does_not_keep_another_waiting() -> None:
    store = WatchedStore()
    busy = store.with_due(2 * MICRO_BATCH + 1)
    other = store.with_due(1)

    run(store)

    assert store.folded == [busy.id, other.id, busy.id, busy.id]
    assert store.pending(busy.id) == store.pending(other.id) == 0


def test_a_long_line_is_learned_without_a_pause() -> None:
    store = WatchedStore()
    busy = store.with_due(2 * MICRO_BATCH)
    started = time.monotonic()

    run(store, interval_s=10.0)

    assert store.folded == [busy.id] * 2
    assert time.monotonic() - started < 10.0


def test_a_database_that_was_away_is_learned_from_when_it_is_back() -> None:
    store = WatchedStore()
    policy = store.with_due(3)
    store.refusals = 1

    run(store)

    assert store.pending(policy.id) == 0


def test_a_micro_batch_that_others_got_in_the_way_of_is_tried_again_at_once() -> None:
    """Several times, and without a word: it is nobody's fault."""
    store = WatchedStore()
    policy = store.with_due(3)
    store.collisions = [Contended(), Conflict("another writer was first"), Contended()]

    with capture_logs() as logs:
        run(store)

    assert store.folded == [policy.id] * 4
    assert store.rounds == 2  # and in the second there was nothing to do
    assert store.pending(policy.id) == 0
    assert not [entry for entry in logs if entry["log_level"] == "error"]


def test_one_policy_that_others_are_always_at_does_not_keep_another_waiting() -> None:
    store = WatchedStore()
    busy, other = store.with_due(1), store.with_due(1)
    store.collisions = [Contended() for _ in range(MOST_ATTEMPTS)]

    run(store)

    assert store.folded == [busy.id] * MOST_ATTEMPTS + [other.id, busy.id]
    assert store.pending(busy.id) == store.pending(other.id) == 0


def test_snapshots_are_asked_for_of_every_policy_and_one_that_fails_harms_no_other() -> None:
    store = WatchedStore()
    first, second = store.with_due(1), store.with_due(1)
    asked: list[PolicyId] = []

    def keep(policy: Policy, at: datetime) -> int | None:
        asked.append(policy.id)
        raise ZeroDivisionError

    with capture_logs() as logs:
        run(store, keep_snapshot=keep)

    assert sorted(asked) == sorted([first.id, second.id])
    assert store.pending(first.id) == store.pending(second.id) == 0
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == [
        "keeping what was learned as it was fails"
    ]


def test_an_alarm_is_told_once_as_a_warning() -> None:
    store = WatchedStore()
    policy = store.with_due(60)
    run(store, now=NOW + timedelta(hours=1))
    worse = [a_decision(policy, at=NOW + timedelta(hours=1)) for _ in range(5)]
    store.record_now(worse)
    store.append_now(policy.id, [an_outcome(decision, value=0.0) for decision in worse])
    store.stopping.clear()

    with capture_logs() as logs:
        run(store)
    store.append_now(policy.id, [an_outcome(decision, value=0.1, sequence=1) for decision in worse])
    store.stopping.clear()
    with capture_logs() as later:
        run(store)

    (warning,) = [entry for entry in logs if entry["log_level"] == "warning"]
    assert warning["arm"] == policy.arms[0].name
    assert (warning["objective"], warning["direction"]) == ("quality", "down")
    assert not [entry for entry in later if entry["log_level"] == "warning"]
