"""Two writers with outcomes of one decision, the second one quicker at the worst moment."""

import psycopg
import pytest

from bandit.domain.objective import Objective
from bandit.domain.outcome import Disposition
from bandit.store.postgres import outcomes
from bandit.store.postgres.outcomes import PostgresOutcomeLog
from tests.builders import a_decision, a_policy, an_outcome

pytestmark = pytest.mark.asyncio


@pytest.fixture
async def logs(database_url):
    pair = PostgresOutcomeLog(database_url), PostgresOutcomeLog(database_url)
    yield pair
    for log in pair:
        await log.close()


@pytest.fixture
def meanwhile(monkeypatch):
    """`meanwhile(other)`: done once, between the look into the log and the write."""

    def arrange(other):
        look = outcomes._sequences

        async def slow_look(lane, calls):
            found = await look(lane, calls)
            monkeypatch.setattr(outcomes, "_sequences", look)
            await other()
            return found

        monkeypatch.setattr(outcomes, "_sequences", slow_look)

    return arrange


def stored(url):
    with psycopg.connect(url) as connection:
        rows = connection.execute("select sequence, value from outcome order by 1")
        return rows.fetchall()


def twice(decision, sequence):
    """Two in one call, so that they are taken one after the other."""
    return [an_outcome(decision, sequence=sequence, value=0.5)] * 2


async def test_a_later_one_that_came_first_supersedes(logs, meanwhile, database_url):
    slow, quick = logs
    decision = a_decision(a_policy())
    meanwhile(
        lambda: quick.append(decision.policy_id, [an_outcome(decision, sequence=1, value=0.9)])
    )

    dispositions = await slow.append(decision.policy_id, twice(decision, 0))

    assert dispositions == [Disposition.IGNORED] * 2
    assert stored(database_url) == [(1, 0.9)]


async def test_the_same_one_that_came_first_makes_a_duplicate(logs, meanwhile, database_url):
    slow, quick = logs
    decision = a_decision(a_policy())
    meanwhile(
        lambda: quick.append(decision.policy_id, [an_outcome(decision, sequence=0, value=0.9)])
    )

    dispositions = await slow.append(decision.policy_id, twice(decision, 0))

    assert dispositions == [Disposition.DUPLICATE] * 2
    assert stored(database_url) == [(0, 0.9)]


async def test_what_is_acknowledged_as_superseded_has_a_later_one(logs, database_url):
    first, second = logs
    decision = a_decision(a_policy())
    await first.append(decision.policy_id, [an_outcome(decision, sequence=3, value=0.9)])

    late_row = an_outcome(decision, sequence=2, value=0.1)
    (late,) = await second.append(decision.policy_id, [late_row])
    (higher,) = await second.append(
        decision.policy_id, [an_outcome(decision, sequence=4, value=0.2)]
    )
    apart = await second.append(
        decision.policy_id, [an_outcome(decision, objective=Objective.COST, sequence=0, value=0.2)]
    )

    assert (late, higher) == (Disposition.IGNORED, Disposition.CORRECTED)
    assert apart == [Disposition.ACCEPTED]
    assert (2, 0.1) not in stored(database_url)
