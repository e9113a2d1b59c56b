"""A database whose own settings are not ours, such as its time zone."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import sql

from bandit.domain.objective import Objective
from bandit.domain.price import PriceVersion
from bandit.routing.learner import fold_due
from bandit.store.postgres.catalog import PostgresCatalog
from bandit.store.postgres.decisions import PostgresDecisionLog
from bandit.store.postgres.engine import make_engine
from bandit.store.postgres.learning import PostgresLearning
from bandit.store.postgres.outcomes import PostgresOutcomeLog
from bandit.store.postgres.posteriors import PostgresPosteriors
from migrations.upgrade import upgrade
from tests.builders import A_PRICE, NOW, a_decision, a_policy, an_event, an_outcome
from tests.contract.comparing import assert_same_decision

FIRST = datetime(1, 1, 1, tzinfo=UTC)
LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
LATER = NOW + timedelta(days=1)

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.parametrize(
        "settings",
        [
            {"timezone": "America/Los_Angeles"},  # before UTC, so year 0 is within reach
            {"timezone": "Pacific/Kiritimati"},  # after it, as year 10000 is
            {"timezone": "<-1437>+14:37", "datestyle": "SQL, DMY"},
        ],
        ids=["west", "east", "odd"],
    ),
]


@pytest.fixture
def url(new_database, template, settings):
    with new_database(template) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            for name, value in settings.items():
                connection.execute(
                    sql.SQL("alter database {} set {} = {}").format(
                        sql.Identifier(connection.info.dbname), sql.Identifier(name), value
                    )
                )
        yield url


@pytest.fixture
def engine(url):
    engine = make_engine(url)
    yield engine
    engine.dispose()


async def test_moments_at_both_ends_of_time_come_back(url, engine):
    policy = a_policy(created_at=FIRST)
    priced = tuple(
        replace(arm, prices=(PriceVersion(FIRST, A_PRICE), PriceVersion(LAST, A_PRICE)))
        for arm in policy.arms
    )
    policy = replace(policy, arms=priced)
    decisions = PostgresDecisionLog(url)
    made = [a_decision(policy, id=a_decision(policy).id, at=at) for at in (FIRST, LAST, NOW)]

    PostgresCatalog(engine).create(policy, an_event())
    await decisions.record(made)
    found = await decisions.find(policy.id, [decision.id for decision in made])
    await decisions.close()

    assert PostgresCatalog(engine).list() == [policy]
    for decision in made:
        assert_same_decision(found[decision.id], decision)


async def test_outcomes_observed_at_both_ends_of_time_are_learned(url, engine):
    policy = a_policy()
    PostgresCatalog(engine).create(policy, an_event())
    decisions, outcomes = PostgresDecisionLog(url), PostgresOutcomeLog(url)
    for observed_at in (FIRST, LAST):
        decision = a_decision(policy)
        await decisions.record([decision])
        await outcomes.append(policy.id, [an_outcome(decision, observed_at=observed_at)])
    await asyncio.gather(decisions.close(), outcomes.close())

    folded = fold_due(PostgresLearning(engine), policy, now=LATER)

    assert folded is not None
    assert folded.settled == 2
    assert PostgresPosteriors(engine).pending(policy.id) == 0
    _, learned = PostgresPosteriors(engine).learned(
        policy.id, a_decision(policy).schema_id, known={}
    )
    (stored,) = learned.values()
    assert stored.sums is not None
    assert stored.sums.epoch == NOW
    assert {head for _, head in learned} == {Objective.QUALITY}


async def test_days_are_those_of_utc(url, engine):
    """Migrations run here too, and a decision made just before midnight finds its partition."""
    upgrade(url, today=NOW.date())
    policy = a_policy()
    PostgresCatalog(engine).create(policy, an_event())
    midnight = NOW.replace(hour=0)
    decisions = PostgresDecisionLog(url)
    made = [a_decision(policy, at=midnight + timedelta(seconds=s)) for s in (-1, 0, 1)]

    answers = await decisions.record(made)
    await decisions.close()

    assert [answer.replayed for answer in answers] == [False] * 3
