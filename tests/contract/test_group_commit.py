"""The group commit by itself, with work that does what the test wants."""

import asyncio

import psycopg
import pytest
from psycopg import errors as postgres

from bandit.domain.errors import Unavailable
from bandit.store.postgres.group_commit import GroupCommit
from bandit.store.postgres.lane import Lane

pytestmark = pytest.mark.asyncio


class Work:
    """Answers each number with its double, after failing as often as it is told to."""

    def __init__(self, *failures):
        self.failures = list(failures)
        self.groups = []

    async def __call__(self, lane, numbers):
        self.groups.append(list(numbers))
        async with lane.transaction() as connection:
            await connection.execute("select 1")
            return self.answered(numbers)

    def answered(self, numbers):
        if self.failures:
            raise self.failures.pop(0)
        if 13 in numbers:
            raise postgres.DataError("unlucky")
        return [2 * number for number in numbers]


@pytest.fixture
async def group_commit(database_url):
    made = []

    def make(work, **sizes):
        made.append(GroupCommit(Lane(database_url), work, **sizes))
        return made[-1]

    yield make
    for group in made:
        await group.close()


@pytest.mark.parametrize("kind", [postgres.DeadlockDetected, postgres.SerializationFailure])
async def test_collisions_are_tried_again(group_commit, kind):
    work = Work(kind(), kind(), kind())

    assert await group_commit(work).answers([1, 2]) == [2, 4]
    assert work.groups == [[1, 2]] * 4


async def test_collisions_without_end_are_unavailable(group_commit):
    group = group_commit(Work(*[postgres.DeadlockDetected()] * 4))

    answers = await group.answers([1, 2])

    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert answers[0] is not answers[1]
    assert await group.answers([3]) == [6]


async def test_a_lost_connection_is_unavailable_and_the_next_call_is_answered(group_commit):
    group = group_commit(Work(psycopg.OperationalError("lost")))

    with pytest.raises(Unavailable):
        await group.answer(1)

    assert await group.answer(1) == 2


async def test_one_that_cannot_be_stored_is_found_by_halving(group_commit):
    answers = await group_commit(Work()).answers(list(range(32)))

    assert [n for n in range(32) if isinstance(answers[n], postgres.DataError)] == [13]
    assert [answers[n] for n in range(32) if n != 13] == [2 * n for n in range(32) if n != 13]


async def test_a_group_holds_no_more_rows_than_it_may(group_commit):
    work = Work()

    await group_commit(work, most_rows=4).answers(list(range(20, 30)))

    assert [len(group) for group in work.groups] == [4, 4, 2]


async def test_a_call_larger_than_a_group_goes_alone(group_commit):
    work = Work()

    await group_commit(work, rows_of=lambda n: n, most_rows=10).answers([4, 6, 12, 5, 5, 1])

    assert work.groups == [[4, 6], [12], [5, 5], [1]]


async def test_closing_finishes_what_is_waiting(database_url):
    group = GroupCommit(Lane(database_url), Work(), most_rows=1)
    calls = [asyncio.create_task(group.answer(n)) for n in range(5)]
    await asyncio.sleep(0)

    await group.close()

    assert await asyncio.gather(*calls) == [0, 2, 4, 6, 8]


async def test_a_row_without_a_place_is_tried_again_once_and_a_broken_rule_is_not(
    group_commit, database_url
):
    """As when a day is made while a statement begins; the errors are Postgres's own."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "create temporary table days (day int, number int constraint positive check"
            " (number > 0)) partition by range (day)"
        )
        connection.execute(
            "create temporary table first partition of days for values from (0) to (1)"
        )
        with pytest.raises(postgres.CheckViolation) as without_place:
            connection.execute("insert into days values (7, 1)")
        with pytest.raises(postgres.CheckViolation) as broken_rule:
            connection.execute("insert into days values (0, -1)")

    assert await group_commit(Work(without_place.value)).answers([1]) == [2]
    work = Work(without_place.value, without_place.value)
    assert await group_commit(work).answers([1]) == [without_place.value]
    assert len(work.groups) == 2
    work = Work(broken_rule.value)
    assert await group_commit(work).answers([1]) == [broken_rule.value]
    assert len(work.groups) == 1
