"""Requests that wait together are answered together."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

LINGER_S = 0.01
CROWDED_S = 0.1
MOST_TOGETHER = 128
_QUIET_TURNS = 20  # of the event loop: 0.1 to 0.2 ms where it has nothing else to do
_MOST_COMPANIES = 1000  # that are remembered though nobody waits

_Request = TypeVar("_Request")
_Answer = TypeVar("_Answer")


@dataclass(slots=True, eq=False)
class _Company(Generic[_Request, _Answer]):
    """
    Those of one name who wait for the next group to leave.

    leaving        what will see whether it is time
    seen           how many waited when that was last looked at
    quiet_turns    of the event loop, since somebody came
    since          when the first of them came; crowded_until: both by the event loop's clock
    under_way      groups that left and are not answered yet
    """

    waiting: list[tuple[_Request, asyncio.Future[_Answer]]] = field(default_factory=list)
    leaving: asyncio.Handle | None = None
    seen: int = 0
    quiet_turns: int = 0
    since: float = 0.0
    crowded_until: float = 0.0
    under_way: int = 0


class Gathering(Generic[_Request, _Answer]):
    """
    One call of `answer_all` for the requests under one name that come in company.

    A request that comes when none is under way, and none came in company lately, leaves at once,
    with those of the same turn of the event loop: so a lone caller waits for nobody.  In company a
    group leaves when a few turns of the event loop have brought nobody, or after `linger_s`.

    Turns, not time: when a busy loop comes round to a timer, others wait in the socket, and the
    transport brings one request in a turn or two.
    """

    def __init__(
        self,
        answer_all: Callable[[Sequence[_Request]], Awaitable[Sequence[_Answer]]],
        *,
        linger_s: float = LINGER_S,
        most_together: int = MOST_TOGETHER,
    ) -> None:
        self._answer_all = answer_all
        self._linger_s = linger_s
        self._most_together = most_together
        self._companies: dict[str, _Company[_Request, _Answer]] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # a loop holds its tasks weakly

    async def answer(self, name: str, request: _Request) -> _Answer:
        """
        The answer to one request.

        A caller who is cancelled stops waiting; the request goes on in its group, as if alone.
        """
        loop = asyncio.get_running_loop()
        company = self._companies.get(name) or self._new_company(name)
        place: asyncio.Future[_Answer] = loop.create_future()
        company.waiting.append((request, place))
        if company.leaving is None:
            company.since = loop.time()
            is_crowded = company.under_way or company.since < company.crowded_until
            company.leaving = loop.call_soon(self._look if is_crowded else self._leave, company)
        elif len(company.waiting) >= self._most_together:
            self._leave(company)
        return await place

    def _new_company(self, name: str) -> _Company[_Request, _Answer]:
        if len(self._companies) >= _MOST_COMPANIES:  # callers may ask for any name
            self._companies = {
                name: company
                for name, company in self._companies.items()
                if company.waiting or company.under_way
            }
        company = self._companies[name] = _Company[_Request, _Answer]()
        return company

    def _look(self, company: _Company[_Request, _Answer]) -> None:
        loop = asyncio.get_running_loop()
        if len(company.waiting) > company.seen:
            company.seen, company.quiet_turns = len(company.waiting), 0
        else:
            company.quiet_turns += 1
        if company.quiet_turns < _QUIET_TURNS and loop.time() < company.since + self._linger_s:
            company.leaving = loop.call_soon(self._look, company)
        else:
            self._leave(company)

    def _leave(self, company: _Company[_Request, _Answer]) -> None:
        if company.leaving is not None:
            company.leaving.cancel()
            company.leaving = None
        loop = asyncio.get_running_loop()
        group, company.waiting, company.seen = company.waiting, [], 0
        company.under_way += 1
        if len(group) > 1:
            company.crowded_until = loop.time() + CROWDED_S
        task = loop.create_task(self._answer_company(company, group))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer_company(
        self,
        company: _Company[_Request, _Answer],
        group: Sequence[tuple[_Request, asyncio.Future[_Answer]]],
    ) -> None:
        try:
            await self._answer_group(group)
        finally:
            company.under_way -= 1

    async def _answer_group(
        self, group: Sequence[tuple[_Request, asyncio.Future[_Answer]]]
    ) -> None:
        try:
            answers = await self._answer_all([request for request, _ in group])
        except Exception as error:
            if len(group) > 1:  # one of them harms no other
                for alone in group:
                    await self._answer_group([alone])
                return
            place = group[0][1]
            if not place.done():
                place.set_exception(error)
        except BaseException:
            for _, place in group:
                place.cancel()
            raise
        else:
            for (_, place), answer in zip(group, answers, strict=True):
                if not place.done():
                    place.set_result(answer)
