"""Many callers, one transaction: what arrives while a commit is in flight is written together."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import psycopg

from bandit.domain.errors import Unavailable
from bandit.store.postgres.engine import is_collision, lacks_partition, refusal_of
from bandit.store.postgres.lane import Lane

MOST_ROWS = 256
MOST_WAITING = 20_000
MOST_COLLISIONS = 3
_FAREWELL_S = 1.0
_UNANSWERED = Unavailable("not answered yet")  # stands for an answer until there is one

Call = TypeVar("Call")
Answer = TypeVar("Answer")
Work = Callable[[Lane, Sequence[Call]], Awaitable[Sequence[Answer | Exception]]]


@dataclass(slots=True, eq=False)
class _Caller(Generic[Answer]):
    """Who waits for so many answers, until `over`."""

    answers: list[Answer | Exception]
    missing: int
    over: asyncio.Future[None]

    def take(self, position: int, answer: Answer | Exception) -> None:
        self.answers[position] = answer
        self.missing -= 1
        if not self.missing and not self.over.done():
            self.over.set_result(None)


class GroupCommit(Generic[Call, Answer]):
    """
    Runs the calls that are waiting as one group in one transaction, in the order they came.

    lane         used by this group commit alone
    work         answers a group in one transaction of the lane; one answer per call
    rows_of      size of a call; a call larger than `most_rows` makes a group of its own
    most_rows    rows in a group
    most_waiting rows in line, beyond which calls are refused

    A caller who is cancelled stops waiting; the call is carried out.
    """

    def __init__(
        self,
        lane: Lane,
        work: Work[Call, Answer],
        *,
        rows_of: Callable[[Call], int] = lambda _: 1,
        most_rows: int = MOST_ROWS,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._lane = lane
        self._work = work
        self._rows_of = rows_of
        self._most_rows = most_rows
        self._most_waiting = most_waiting
        self._line: deque[tuple[Call, _Caller[Answer], int]] = deque()
        self._rows_waiting = 0
        self._drain: asyncio.Task[None] | None = None

    async def answers(self, calls: Sequence[Call]) -> list[Answer | Exception]:
        """What became of each call, in order; Unavailable where it is unknown."""
        rows = sum(self._rows_of(call) for call in calls)
        if self._line and self._rows_waiting + rows > self._most_waiting:
            raise Unavailable("too many writes are waiting for the database")
        if not calls:
            return []
        loop = asyncio.get_running_loop()
        unanswered: list[Answer | Exception] = [_UNANSWERED] * len(calls)
        caller = _Caller(unanswered, len(calls), loop.create_future())
        self._line.extend((call, caller, position) for position, call in enumerate(calls))
        self._rows_waiting += rows
        if self._drain is None or self._drain.done():
            self._drain = loop.create_task(self._run())
        await caller.over
        return caller.answers

    async def answer(self, call: Call) -> Answer:
        """What became of one call; raises what it failed with."""
        (answer,) = await self.answers([call])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        """Finish what is waiting, if that is soon, then give the connection back."""
        if self._drain is not None and not self._drain.done():
            _, late = await asyncio.wait([self._drain], timeout=_FAREWELL_S)
            if late:
                self._lane.hang_up()
                self._drain.cancel()
                await asyncio.wait([self._drain])
        await self._lane.close()

    async def _run(self) -> None:
        while self._line:
            group = self._next_group()
            answers: Sequence[Answer | Exception] = []
            try:
                answers = await self._answered([call for call, _, _ in group])
            finally:  # cancelled at the end of the process: nobody is left waiting
                late = len(group) - len(answers)
                missing = [Unavailable("the service is stopping") for _ in range(late)]
                for (_, caller, position), answer in zip(group, [*answers, *missing], strict=True):
                    caller.take(position, answer)

    def _next_group(self) -> list[tuple[Call, _Caller[Answer], int]]:
        group = [self._line.popleft()]
        rows = self._rows_of(group[0][0])
        while self._line and rows + self._rows_of(self._line[0][0]) <= self._most_rows:
            group.append(self._line.popleft())
            rows += self._rows_of(group[-1][0])
        self._rows_waiting -= rows
        return group

    async def _answered(self, calls: Sequence[Call]) -> Sequence[Answer | Exception]:
        try:
            return await self._committed(calls)
        except Unavailable as error:
            return [_copy(error) for _ in calls]
        except Exception as error:
            if len(calls) == 1:
                return [error]
        # One of them cannot be stored: the halves are tried apart until it is alone.
        half = len(calls) // 2
        return [*await self._answered(calls[:half]), *await self._answered(calls[half:])]

    async def _committed(self, calls: Sequence[Call]) -> Sequence[Answer | Exception]:
        for attempt in range(MOST_COLLISIONS + 1):
            try:
                return await self._work(self._lane, calls)
            except psycopg.Error as error:
                may_pass = is_collision(error) or (lacks_partition(error) and attempt == 0)
                if not may_pass or attempt == MOST_COLLISIONS:
                    refusal = refusal_of(error)
                    if refusal is None:
                        raise
                    raise refusal from error
            await asyncio.sleep(0.01 * 2**attempt)
        raise AssertionError("the last attempt returns or raises")


def _copy(error: Unavailable) -> Unavailable:
    """The same for another caller: a traceback grows with every `raise`."""
    copy = Unavailable(str(error), retry_after_s=error.retry_after_s)
    copy.__cause__ = error.__cause__
    return copy
