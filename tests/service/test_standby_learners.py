"""Several learners on one database: when the one at work dies or hangs, another one goes on."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime

import psycopg
import pytest

from bandit.domain.decision import Decision
from bandit.domain.policy import Policy
from bandit.store.postgres.catalog import PostgresCatalog
from bandit.store.postgres.decisions import PostgresDecisionLog
from bandit.store.postgres.engine import make_engine
from bandit.store.postgres.outcomes import PostgresOutcomeLog
from migrations.upgrade import upgrade
from tests.builders import a_decision, a_policy, an_event, an_outcome
from tests.service.calls import eventually, learner_process

TAKE_OVER_S = 2.0
HELD = """
    select count(*) from pg_locks join pg_stat_activity using (pid)
    where locktype = 'advisory' and granted and datname = current_database()
        and wait_event_type = 'Lock'
"""


@pytest.fixture
def url(
    new_database: Callable[..., AbstractContextManager[str]],
) -> Iterator[str]:
    with new_database() as made:
        upgrade(made)
        yield made


def a_learned_policy(url: str) -> Policy:
    engine = make_engine(url)
    policy = a_policy(created_at=datetime.now(UTC))
    PostgresCatalog(engine).create(policy, an_event())
    engine.dispose()
    return policy


def tell(url: str, policy: Policy, count: int) -> None:
    """So many decisions of the first arm, each with an outcome."""

    async def telling() -> None:
        decisions, outcomes = PostgresDecisionLog(url), PostgresOutcomeLog(url)
        now = datetime.now(UTC)
        made: list[Decision] = [a_decision(policy, at=now) for _ in range(count)]
        await decisions.record(made)
        rows = [an_outcome(each, received_at=now) for each in made]
        await outcomes.append(policy.id, rows)
        await decisions.close()
        await outcomes.close()

    asyncio.run(telling())


def learned(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("select coalesce(sum(observations), 0) from posterior").fetchone()
    assert row is not None
    return int(row[0])


@contextmanager
def held_in_the_middle(url: str, policy: Policy) -> Iterator[Callable[[], None]]:
    """
    Whoever folds is kept waiting, with the policy's lock in hand and half of its work done.

    Gives what lets it go on.
    """
    with psycopg.connect(url) as rival, psycopg.connect(url, autocommit=True) as watcher:
        rival.execute("select from posterior for update")
        tell(url, policy, 20)
        eventually(lambda: watcher.execute(HELD).fetchone(), lambda row: row == (1,))
        yield rival.rollback


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
def test_a_learner_that_ends_in_the_middle_is_followed_by_another(
    url: str, end: signal.Signals
) -> None:
    policy = a_learned_policy(url)
    with learner_process(url) as first:
        tell(url, policy, 10)
        eventually(lambda: learned(url), lambda count: count == 10)
        with (
            held_in_the_middle(url, policy) as let_go,
            learner_process(url),
            learner_process(url),
        ):
            os.kill(first.pid, end)
            time.sleep(0.3)  # the others look, and stand by
            assert learned(url) == 10

            let_go_at = time.monotonic()
            let_go()
            eventually(lambda: learned(url), lambda count: count == 30)
            took_s = time.monotonic() - let_go_at

    assert took_s < TAKE_OVER_S


def test_outcomes_are_learned_once_while_learners_come_and_go(url: str) -> None:
    """Of three one is stopped and one is killed, while outcomes come."""
    policy = a_learned_policy(url)
    with learner_process(url), learner_process(url) as second, learner_process(url) as third:
        for child, end in ((second, signal.SIGSTOP), (third, signal.SIGKILL)):
            for _ in range(5):
                tell(url, policy, 30)
            os.kill(child.pid, end)
        for _ in range(5):
            tell(url, policy, 30)

        eventually(lambda: learned(url), lambda count: count == 450)
        with psycopg.connect(url) as connection:
            row = connection.execute("select count(*) from contribution").fetchone()

    assert row == (450,)
