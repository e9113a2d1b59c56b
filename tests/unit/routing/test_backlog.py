"""The line before a log that fails, hangs and comes back as the test wants."""

import asyncio
import random
from dataclasses import replace

import pytest

from bandit.domain.errors import InvalidInput, Unavailable
from bandit.routing.backlog import MOST_ROWS, Backlog, Counts
from tests.builders import a_decision, a_policy, an_event
from tests.fickle_log import FickleLog

COMMIT_WAIT_S = 0.05
PLENTY = 10**9


class Diary:
    """Implements `Witness`."""

    def __init__(self):
        self.told = []

    def began(self, error):
        self.told.append(error)

    def ended(self, counts):
        self.told.append(counts)


class World:
    def __init__(self, *, most_decisions=1000, most_bytes=PLENTY):
        self.log = FickleLog()
        self.policy = a_policy()
        self.log.store.create(self.policy, an_event())
        self.diary = Diary()
        self.backlog = Backlog(
            self.log,
            self.diary,
            commit_wait_s=COMMIT_WAIT_S,
            most_decisions=most_decisions,
            most_bytes=most_bytes,
        )

    def decisions(self, count):
        return [a_decision(self.policy) for _ in range(count)]

    async def record(self, *decisions):
        return await self.backlog.record(decisions)

    async def goes_away(self):
        """Until nobody waits for it any more; one decision is in line by then."""
        self.log.is_away = True
        [first] = self.decisions(1)
        await self.record(first)
        while not self.backlog.is_away:
            await asyncio.sleep(0.001)
        return first

    async def comes_back(self):
        self.log.is_away = False
        await self.backlog.flush(within_s=10)


@pytest.fixture
async def world():
    made = World()
    yield made
    await made.backlog.close()


async def test_what_is_stored_in_time_is_durable_and_nothing_is_told(world):
    decisions = world.decisions(3)

    answers = await world.record(*decisions)

    assert [answer.decision for answer in answers] == decisions
    assert all(answer.durable and not answer.replayed for answer in answers)
    assert world.log.written == decisions
    assert world.backlog.counts == Counts()
    assert world.diary.told == []


async def test_a_log_that_is_away_gets_all_decisions_in_order_when_it_is_back(world):
    first = await world.goes_away()
    others = world.decisions(700)
    answers = [(await world.record(other))[0] for other in others]
    assert [answer.decision for answer in answers] == others
    assert not any(answer.durable or answer.replayed for answer in answers)
    assert set(world.backlog.waiting(world.policy.id, [d.id for d in others])) == {
        d.id for d in others
    }

    await world.comes_back()

    assert world.log.written == [first, *others]
    assert not world.backlog.is_away
    assert world.backlog.waiting(world.policy.id, [d.id for d in others]) == {}
    assert world.backlog.counts == Counts(unconfirmed=701, stored=701)
    assert world.backlog.counts.waiting == 0
    assert max(world.log.groups) <= MOST_ROWS


@pytest.mark.parametrize("seed", range(20))
async def test_however_often_the_log_fails_every_decision_arrives_once_and_in_order(seed):
    """It refuses, hangs and loses its answers at random, while callers come and go."""
    draw = random.Random(seed)
    world = World()
    decisions = world.decisions(150)
    for decision in decisions:
        calling = asyncio.create_task(world.record(decision))
        await asyncio.sleep(0)
        if draw.random() < 0.2:
            calling.cancel()
        event = draw.random()
        world.log.is_away = draw.random() < 0.4
        world.log.loses_answers = draw.random() < 0.3
        if event < 0.1:
            world.log.open.clear()
        elif event < 0.4:
            world.log.open.set()
        if draw.random() < 0.3:
            await asyncio.sleep(draw.uniform(0, 0.01))
    world.log.is_away = world.log.loses_answers = False
    world.log.open.set()

    await world.backlog.flush(within_s=10)

    assert world.log.written == decisions
    assert world.backlog.counts.conflicts == 0
    assert world.backlog.counts.waiting == 0


async def test_once_the_log_is_away_nobody_waits_for_it(world):
    await world.goes_away()
    loop = asyncio.get_running_loop()
    started = loop.time()

    for decision in world.decisions(20):
        await world.record(decision)

    assert loop.time() - started < COMMIT_WAIT_S


async def test_a_log_that_hangs_is_not_waited_for_beyond_the_commit_wait(world):
    world.log.open.clear()
    [decision] = world.decisions(1)

    async with asyncio.timeout(COMMIT_WAIT_S * 10):
        [answer] = await world.record(decision)

    assert not answer.durable
    world.log.open.set()
    await world.backlog.flush(within_s=10)
    assert world.log.written == [decision]


async def test_callers_wait_again_as_soon_as_something_was_stored(world):
    """Else an overload, in which everybody is answered at once, would never end."""
    await world.goes_away()
    world.log.is_away = False
    await world.backlog.flush(within_s=10)

    [answer] = await world.record(*world.decisions(1))

    assert answer.durable


async def test_an_id_that_waits_keeps_its_first_decision(world):
    first = await world.goes_away()
    second = a_decision(world.policy, id=first.id, fingerprint=b"another request")

    [again] = await world.record(second)

    assert again.decision is first
    assert again.replayed
    assert not again.durable
    await world.comes_back()
    assert world.log.written == [first]


async def test_an_id_twice_in_one_call_is_stored_once(world):
    [first] = world.decisions(1)
    second = a_decision(world.policy, id=first.id)

    answers = await world.record(first, second)

    assert [answer.decision for answer in answers] == [first, first]
    assert [answer.replayed for answer in answers] == [False, True]
    assert all(answer.durable for answer in answers)


async def test_another_answer_that_was_stored_meanwhile_is_kept_and_counted(world):
    mine = await world.goes_away()
    theirs = a_decision(world.policy, id=mine.id, propensity=0.25)
    world.log.store.record_now([theirs])

    await world.comes_back()

    assert world.log.store.find_now(world.policy.id, [mine.id]) == {mine.id: theirs}
    assert world.backlog.counts == Counts(unconfirmed=1, conflicts=1)


async def test_a_commit_whose_answer_was_lost_is_no_conflict(world):
    world.log.loses_answers = True
    [decision] = world.decisions(1)
    [answer] = await world.record(decision)
    assert not answer.durable

    world.log.loses_answers = False
    await world.backlog.flush(within_s=10)

    assert world.backlog.counts == Counts(unconfirmed=1, stored=1)


async def test_a_caller_who_waits_through_a_lost_answer_is_told_that_it_is_stored():
    world = World()
    world.backlog._commit_wait_s = 5.0
    world.log.loses_answers = True
    [decision] = world.decisions(1)
    calling = asyncio.create_task(world.record(decision))
    while not world.log.written:
        await asyncio.sleep(0)
    world.log.loses_answers = False

    [answer] = await calling

    assert (answer.decision, answer.durable, answer.replayed) == (decision, True, False)


async def test_an_id_of_an_earlier_day_is_replayed_as_the_log_has_it(world):
    [stored] = world.decisions(1)
    world.log.store.record_now([stored])

    [answer] = await world.record(replace(stored, propensity=0.25))

    assert (answer.decision, answer.durable, answer.replayed) == (stored, True, True)


async def test_one_that_cannot_be_stored_holds_up_nobody(world):
    first = await world.goes_away()
    bad, good = world.decisions(2)
    world.log.poison.add(bad.id)
    await world.record(bad, good)

    await world.comes_back()

    assert world.log.written == [first, good]
    assert world.backlog.counts == Counts(unconfirmed=3, stored=2, refused=1)


async def test_whoever_waits_is_told_why_a_decision_cannot_be_stored(world):
    bad, good = world.decisions(2)
    world.log.poison.add(bad.id)

    answers = await world.record(bad, good)

    assert isinstance(answers[0], InvalidInput)
    assert answers[1].durable


async def test_when_there_is_no_room_the_oldest_goes():
    world = World(most_decisions=10)
    first = await world.goes_away()
    others = world.decisions(30)
    for other in others:
        await world.record(other)

    await world.comes_back()

    counts = world.backlog.counts
    kept = len(world.log.written)
    assert world.log.written == [first, *others][-kept:]
    assert 10 <= kept <= 11
    assert counts == Counts(unconfirmed=31, stored=kept, dropped=31 - kept)


async def test_large_decisions_take_the_room_of_many():
    world = World(most_bytes=20_000)
    await world.goes_away()
    large = [a_decision(world.policy, labels={"text": "x" * 2000}) for _ in range(10)]
    for decision in large:
        await world.record(decision)

    await world.comes_back()

    assert world.log.written == large[-len(world.log.written) :]
    assert 2 <= len(world.log.written) <= 4


async def test_an_outage_is_told_once_with_what_came_of_it(world):
    await world.goes_away()
    await world.record(*world.decisions(4))

    await world.comes_back()
    await world.goes_away()
    await world.comes_back()

    first, was, second, again = world.diary.told
    assert str(first) == str(second) == "the database is away"
    assert was == Counts(unconfirmed=5, stored=5)
    assert again == Counts(unconfirmed=1, stored=1)


async def test_the_end_says_how_many_are_lost_and_keeps_nobody_waiting():
    world = World()
    world.log.open.clear()
    calling = asyncio.create_task(world.record(*world.decisions(3)))
    await asyncio.sleep(0)

    lost = await world.backlog.close()

    assert lost == 3
    assert not any(answer.durable for answer in await calling)
    [refused] = await world.record(*world.decisions(1))
    assert isinstance(refused, Unavailable)
