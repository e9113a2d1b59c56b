"""Who is decided together with whom, by a selection that the test holds up and lets go."""

import asyncio

import pytest

from bandit.routing.gathering import Gathering

pytestmark = pytest.mark.asyncio
NEVER = 60.0


class Selection:
    """Answers each text when it is let go."""

    def __init__(self):
        self.groups = []
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.failing = set()

    async def __call__(self, texts):
        self.groups.append(list(texts))
        await self.is_open.wait()
        if self.failing & set(texts):
            raise ArithmeticError(texts[0])
        return [f"answer to {text}" for text in texts]


def read(given):
    policy, text = given.split(": ")
    if text == "unreadable":
        raise ValueError(text)
    return policy, text


def asked(gathering, text, policy="p"):
    return asyncio.create_task(gathering.answer(f"{policy}: {text}"))


async def turns(count=5):
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_lone_query_waits_for_nobody():
    selection = Selection()
    gathering = Gathering(read, selection, linger_s=NEVER)

    answers = [await asked(gathering, text) for text in "ab"]

    assert answers == ["answer to a", "answer to b"]
    assert selection.groups == [["a"], ["b"]]


async def test_those_that_come_at_once_go_together():
    selection = Selection()
    gathering = Gathering(read, selection, linger_s=NEVER)

    answers = await asyncio.gather(*(asked(gathering, text) for text in "abc"))

    assert answers == ["answer to a", "answer to b", "answer to c"]
    assert selection.groups == [["a", "b", "c"]]


async def test_a_lone_query_waits_for_nobody_once_a_crowd_is_gone(monkeypatch):
    monkeypatch.setattr("bandit.routing.gathering.CROWDED_S", 0.0)
    selection = Selection()
    gathering = Gathering(read, selection, linger_s=NEVER)
    await asyncio.gather(*(asked(gathering, text) for text in "abc"))

    assert await asked(gathering, "d") == "answer to d"


async def test_in_company_a_group_leaves_when_nobody_joins_it_any_more():
    selection = Selection()
    gathering = Gathering(read, selection, linger_s=NEVER)
    await asyncio.gather(*(asked(gathering, text) for text in "abc"))
    first = [asked(gathering, text) for text in "de"]
    await turns()
    before = list(selection.groups)

    await asyncio.gather(*first, asked(gathering, "f"))

    assert before == [["a", "b", "c"]]
    assert selection.groups == [["a", "b", "c"], ["d", "e", "f"]]


async def test_nobody_waits_longer_than_the_linger():
    selection = Selection()
    gathering = Gathering(read, selection, linger_s=0.01, most_together=10**9)
    waiting = []

    async with asyncio.timeout(10):
        while not any("first" in group for group in selection.groups[1:]):
            waiting.append(asked(gathering, "first" if len(waiting) == 1 else "more"))
            await asyncio.sleep(0)  # somebody comes in every turn

    await asyncio.gather(*waiting)


async def test_a_crowd_that_grows_is_noticed():
    selection = Selection()
    gathering = Gathering(read, selection)

    async def caller():
        for _ in range(60):
            await asked(gathering, "x")

    await asyncio.gather(*(caller() for _ in range(2)))
    await asyncio.gather(*(caller() for _ in range(20)))

    assert max(len(group) for group in selection.groups) == 20


async def test_policies_do_not_wait_for_each_other():
    selection = Selection()
    gathering = Gathering(read, selection, linger_s=NEVER)
    selection.is_open.clear()
    slow = asked(gathering, "a", policy="slow")
    await turns()
    other = asked(gathering, "b", policy="other")

    await turns(50)

    assert selection.groups == [["a"], ["b"]]
    selection.is_open.set()
    await asyncio.gather(slow, other)


async def test_a_group_has_a_largest_size():
    selection = Selection()
    gathering = Gathering(read, selection, linger_s=0.01, most_together=2)

    await asyncio.gather(*(asked(gathering, text) for text in "abcde"))

    assert max(len(group) for group in selection.groups) == 2


async def test_a_caller_who_goes_away_harms_nobody():
    selection = Selection()
    gathering = Gathering(read, selection, linger_s=NEVER)
    selection.is_open.clear()
    leaves, stays = asked(gathering, "a"), asked(gathering, "b")
    await turns()

    leaves.cancel()
    await turns()
    selection.is_open.set()

    assert await stays == "answer to b"
    assert await asked(gathering, "c") == "answer to c"


async def test_one_that_fails_harms_no_other():
    selection = Selection()
    selection.failing = {"b"}
    gathering = Gathering(read, selection, linger_s=NEVER)

    answers = await asyncio.gather(
        *(asked(gathering, text) for text in "abc"), return_exceptions=True
    )

    assert [answers[0], answers[2]] == ["answer to a", "answer to c"]
    assert isinstance(answers[1], ArithmeticError)
    assert await asked(gathering, "d") == "answer to d"


async def test_what_cannot_be_read_harms_no_other():
    selection = Selection()
    gathering = Gathering(read, selection, linger_s=NEVER)

    answers = await asyncio.gather(
        *(asked(gathering, text) for text in ("a", "unreadable", "c")), return_exceptions=True
    )

    assert [answers[0], answers[2]] == ["answer to a", "answer to c"]
    assert isinstance(answers[1], ValueError)
    assert selection.groups == [["a", "c"]]
