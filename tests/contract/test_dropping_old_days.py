"""The days of the log that are no longer kept go, and nothing else changes."""

import threading
import time
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import partial
from uuid import uuid4

import psycopg
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from bandit.domain.errors import UnknownDecision
from bandit.domain.objective import Objective
from bandit.domain.outcome import Disposition, Report
from bandit.domain.policy import PolicySettings
from bandit.domain.reward_window import RewardWindow
from bandit.features.schema import schema_of
from bandit.learning.sums import Sums
from bandit.routing.backlog import Backlog
from bandit.routing.feedback import Feedback
from bandit.routing.learner import fold_due
from bandit.store.postgres.catalog import PostgresCatalog
from bandit.store.postgres.decisions import PostgresDecisionLog
from bandit.store.postgres.engine import make_engine
from bandit.store.postgres.learning import PostgresLearning
from bandit.store.postgres.outcomes import PostgresOutcomeLog
from bandit.store.postgres.partitions import keep_partitions
from bandit.store.postgres.posteriors import PostgresPosteriors
from bandit.store.postgres.retention import PATIENCE, drop_before
from services.learner.compose import composed
from services.learner.retention import Retention
from services.router.outages import BacklogWitness
from services.settings import Settings
from tests.builders import A_CONTEXT, NOW, a_charge, a_decision, a_policy, an_event, an_outcome

pytestmark = pytest.mark.asyncio

OLD = NOW - timedelta(days=33)
SINCE = NOW - timedelta(days=30)


class Kept:
    """A database of its own with days of old and of now, and what is in it."""

    def __init__(self, url):
        self.url = url
        self.engine = make_engine(url)
        for moment in (OLD, NOW):
            keep_partitions(self.engine, moment)
        self.catalog = PostgresCatalog(self.engine)
        self.learning = PostgresLearning(self.engine)
        self.posteriors = PostgresPosteriors(self.engine)
        self.decisions, self.outcomes = PostgresDecisionLog(url), PostgresOutcomeLog(url)
        self.policy = a_policy()
        self.catalog.create(self.policy, an_event())

    async def close(self):
        await self.decisions.close()
        await self.outcomes.close()
        self.engine.dispose()

    async def decide(self, at, **changes):
        decision = a_decision(self.policy, at=at, **changes)
        (recorded,) = await self.decisions.record([decision])
        assert not isinstance(recorded, Exception), recorded
        return decision

    async def report(self, decision, **changes):
        await self.outcomes.append(self.policy.id, [an_outcome(decision, **changes)])

    async def learn(self, decision, **changes):
        await self.report(decision, **changes)
        fold_due(self.learning, self.policy, now=NOW)

    def learned(self):
        """The bytes of every sum, with its version."""
        return self.rows("select arm_id, head, version, observations, sums from posterior")

    def rows(self, query):
        with psycopg.connect(self.url) as connection:
            return sorted(connection.execute(query).fetchall())

    def count(self, table):
        return self.rows(f"select count(*) from {table}")[0][0]

    def days(self, table="decision"):
        return {
            date.fromisoformat(name[-8:])
            for (name,) in self.rows(
                "select relname::text from pg_inherits join pg_class on pg_class.oid = inhrelid"
                f" where inhparent = '{table}'::regclass"
            )
        }


@pytest_asyncio.fixture
async def kept(new_database, template):
    with new_database(template) as url:
        made = Kept(url)
        yield made
        await made.close()


@contextmanager
def reader_of(url, table):
    """Somebody who reads a table, slowly."""
    with psycopg.connect(url) as connection:
        connection.execute(f"select count(*) from {table}")
        yield
        connection.rollback()


async def test_old_days_go_whole_and_what_was_learned_stays(kept):
    old, young = await kept.decide(OLD), await kept.decide(NOW)
    for decision in (old, young):
        await kept.learn(decision)
    before = kept.learned()

    dropped = drop_before(kept.engine, SINCE, now=NOW)

    assert OLD.date() in dropped.days
    assert all(day < SINCE.date() for day in dropped.days)
    for table in ("decision", "outcome", "contribution"):
        assert OLD.date() not in kept.days(table)
        assert NOW.date() in kept.days(table)
        assert date(1970, 1, 1) in kept.days(table)
        assert kept.count(table) == 1
    assert kept.learned() == before
    await kept.learn(young, sequence=1, value=0.25)
    schema = schema_of(kept.policy.settings.context)
    _, cells = kept.posteriors.learned(kept.policy.id, schema.id, known={})
    (stored,) = cells.values()
    assert isinstance(stored.sums, Sums)
    assert stored.sums.weight == pytest.approx(2.0)  # the dropped one and the corrected one


async def test_a_day_goes_when_all_of_it_is_too_old(kept):
    end_of_day = (OLD + timedelta(days=1)).replace(hour=0)

    drop_before(kept.engine, end_of_day - timedelta(seconds=1), now=NOW)
    assert OLD.date() in kept.days()

    drop_before(kept.engine, end_of_day, now=NOW)
    assert OLD.date() not in kept.days()


async def test_a_clock_that_ran_far_ahead_drops_nothing_before_its_time(kept):
    today = datetime.now(UTC)
    keep_partitions(kept.engine, today)

    dropped = drop_before(kept.engine, today + timedelta(days=335), now=today + timedelta(days=365))

    assert OLD.date() in dropped.days
    assert today.date() in kept.days()


async def test_a_report_for_a_dropped_decision_is_not_found(kept):
    old, young = await kept.decide(OLD), await kept.decide(NOW)
    drop_before(kept.engine, SINCE, now=NOW)

    class Policies:
        def policy(self, name):
            return kept.policy

    backlog = Backlog(
        kept.decisions,
        BacklogWitness(),
        commit_wait_s=5.0,
        most_decisions=1,
        most_bytes=1_000_000,
    )
    feedback = Feedback(Policies(), backlog, kept.outcomes, clock=lambda: NOW)
    arm = kept.policy.arms[0].name
    gone, stored = await feedback.report(
        [Report(kept.policy.name, each.id, arm, quality=0.5) for each in (old, young)]
    )

    assert isinstance(gone, UnknownDecision)
    assert [receipt.disposition for receipt in stored] == [Disposition.ACCEPTED]


async def test_a_decision_for_a_dropped_day_is_refused_as_one_for_a_day_never_made(kept):
    drop_before(kept.engine, SINCE, now=NOW)

    (answer,) = await kept.decisions.record([a_decision(kept.policy, at=OLD)])

    assert "a day that is not kept" in str(answer)


async def test_ids_without_a_day_go_by_the_moment_of_their_decision(kept):
    old = [await kept.decide(OLD, id=uuid4()) for _ in range(3)]
    young = await kept.decide(NOW, id=uuid4())
    for decision in (*old, young):
        await kept.learn(decision)
    before = kept.learned()

    dropped = drop_before(kept.engine, SINCE, now=NOW)

    assert dropped.decisions == 3
    assert kept.rows("select id from decision") == [(young.id,)]
    assert kept.rows("select decision_id from outcome") == [(young.id,)]
    assert kept.rows("select decision_id from contribution") == [(young.id,)]
    assert kept.learned() == before


async def test_what_waits_to_be_learned_is_kept_until_it_is(kept):
    dated, dateless = await kept.decide(OLD), await kept.decide(OLD, id=uuid4())
    for decision in (dated, dateless):
        await kept.report(decision)

    first = drop_before(kept.engine, SINCE, now=NOW)
    assert first.put_off == (OLD.date(),)
    assert kept.count("outcome") == 2
    fold_due(kept.learning, kept.policy, now=NOW)
    second = drop_before(kept.engine, SINCE, now=NOW)

    assert second.days == (OLD.date(),)
    assert (first.decisions, second.decisions) == (0, 1)
    assert (first.unfolded, second.unfolded) == (0, 0)
    assert kept.count("outcome") == 0
    assert sum(observations for *_, observations, _ in kept.learned()) == 2


async def test_but_not_for_ever_and_that_is_told(kept):
    dated, dateless = await kept.decide(OLD), await kept.decide(OLD, id=uuid4())
    for decision in (dated, dateless):
        await kept.report(decision)

    dropped = drop_before(kept.engine, OLD + timedelta(days=1) + PATIENCE, now=NOW)

    assert dropped.unfolded == 2
    assert kept.count("dirty_key") == kept.count("decision") == kept.count("outcome") == 0
    assert fold_due(kept.learning, kept.policy, now=NOW).learned_version is None


async def test_a_reservation_whose_decision_is_gone_still_ends(kept):
    charge = a_charge(reserved_usd=0.5, limit_name="total", overshoot_usd=None)
    await kept.decide(OLD, charge=charge)
    drop_before(kept.engine, SINCE, now=NOW)
    assert (kept.count("decision"), kept.count("reservation")) == (0, 1)

    fold_due(kept.learning, kept.policy, now=NOW)

    assert kept.count("reservation") == 0


async def test_a_day_that_is_read_stays_and_nobody_waits_long_for_that(kept):
    """A slow reader is in the way of the drop; writers come all the time."""
    slowest, stopping = [0.0], threading.Event()

    def writing():
        with psycopg.connect(kept.url, autocommit=True) as connection:
            while not stopping.is_set():
                started = time.monotonic()
                connection.execute("delete from decision where day = '1970-01-01'")
                slowest[0] = max(slowest[0], time.monotonic() - started)

    writer = threading.Thread(target=writing)
    writer.start()
    try:
        with reader_of(kept.url, "decision"):
            dropped = drop_before(kept.engine, SINCE, now=NOW)
    finally:
        stopping.set()
        writer.join()

    assert OLD.date() in dropped.put_off
    assert OLD.date() in kept.days()
    assert slowest[0] < 1.0
    assert OLD.date() in drop_before(kept.engine, SINCE, now=NOW).days


async def test_a_retention_that_is_too_short_is_told_once_and_drops_nothing(kept):
    slow = PolicySettings(
        context=A_CONTEXT, reward_windows={Objective.QUALITY: RewardWindow(hours=24 * 24.0)}
    )
    kept.catalog.create(a_policy("slow", settings=slow), an_event())
    retention = Retention(
        timedelta(days=30), kept.catalog, drop_before=partial(drop_before, kept.engine)
    )

    with capture_logs() as logs:
        retention.apply(NOW)
        retention.apply(NOW + timedelta(hours=1))

    (told,) = logs
    assert told["log_level"] == "error"
    assert "'slow'" in told["error"]
    assert "retention_days: must be at least 31" in told["error"]
    assert OLD.date() in kept.days()


async def test_a_learner_that_was_told_drops_old_days_in_its_first_round(kept):
    settings = Settings.load(database_url=kept.url, retention_days=30)
    learned = threading.Event()

    with composed(settings) as learner:
        learner.run(learned, tell_ready=learned.set)

    assert OLD.date() not in kept.days()


async def test_without_a_retention_every_day_is_kept(kept):
    learned = threading.Event()

    with composed(Settings.load(database_url=kept.url)) as learner:
        learner.run(learned, tell_ready=learned.set)

    assert OLD.date() in kept.days()
