"""Requests that wait together are answered together."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

LINGER_S = 0.01
CROWDED_S = 0.1
MOST_TOGETHER = 128
_QUIET_TURNS = 4  # of the event loop, for each of those who came before
_MOST_QUIET_TURNS = 120  # 0.5 to 1 ms where it has nothing else to do
_KEEPING = 0.75  # of what is expected, where fewer came

_Given = TypeVar("_Given")
_Request = TypeVar("_Request")
_Answer = TypeVar("_Answer")


class Gathering(Generic[_Given, _Request, _Answer]):
    """
    One call of `answer_all` for the requests that come in company.

    read        what is given as a request, with the key of those whom it is answered together
                with; what it raises is the answer
    answer_all  the answers to requests of one key

    A request that comes when none is under way, and none came in company lately, leaves at once,
    with those of the same turn of the event loop: so a lone caller waits for nobody.  In company a
    group leaves when a few turns of the event loop have brought nobody, or after `linger_s`; the
    more came before, the more turns, as one that leaves early leaves others behind.

    Turns, not time: when a busy loop comes round to a timer, others wait in the socket, and the
    transport brings one request in a turn or two.
    """

    def __init__(
        self,
        read: Callable[[_Given], tuple[Hashable, _Request]],
        answer_all: Callable[[Sequence[_Request]], Awaitable[Sequence[_Answer]]],
        *,
        linger_s: float = LINGER_S,
        most_together: int = MOST_TOGETHER,
    ) -> None:
        self._read = read
        self._answer_all = answer_all
        self._linger_s = linger_s
        self._most_together = most_together
        self._waiting: list[tuple[_Given, asyncio.Future[_Answer]]] = []
        self._leaving: asyncio.Handle | None = None
        self._since = 0.0  # when the first of them came, by the event loop's clock
        self._crowded_until = 0.0  # likewise
        self._seen = 0  # of those who wait
        self._quiet_turns = 0  # since somebody came
        self._expected = 1.0  # to come together
        self._under_way: set[asyncio.Task[None]] = set()

    async def answer(self, given: _Given) -> _Answer:
        """
        The answer to one request.

        Nothing is done for a caller who is cancelled before the group leaves; later the request
        goes on, as if alone.
        """
        loop = asyncio.get_running_loop()
        place: asyncio.Future[_Answer] = loop.create_future()
        self._waiting.append((given, place))
        if self._leaving is None:
            self._since = loop.time()
            is_crowded = self._under_way or self._since < self._crowded_until
            self._leaving = loop.call_soon(self._look if is_crowded else self._leave)
        elif len(self._waiting) >= self._most_together:
            self._leave()
        return await place

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        if len(self._waiting) > self._seen:
            self._seen, self._quiet_turns = len(self._waiting), 0
        else:
            self._quiet_turns += 1
        turns = min(_MOST_QUIET_TURNS, _QUIET_TURNS * self._expected)
        if self._quiet_turns < turns and loop.time() < self._since + self._linger_s:
            self._leaving = loop.call_soon(self._look)
        else:
            self._leave()

    def _leave(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        loop = asyncio.get_running_loop()
        waiting, self._waiting, self._seen = self._waiting, [], 0
        self._expected = max(len(waiting), _KEEPING * self._expected)
        if len(waiting) > 1:
            self._crowded_until = loop.time() + CROWDED_S
        groups: dict[Hashable, list[tuple[_Request, asyncio.Future[_Answer]]]] = {}
        for given, place in waiting:
            if place.done():
                continue
            try:
                key, request = self._read(given)
            except Exception as error:
                _fail(place, error)
            else:
                groups.setdefault(key, []).append((request, place))
        for group in groups.values():
            task = loop.create_task(self._answer_group(group))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

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
            _fail(group[0][1], error)
        except BaseException:
            for _, place in group:
                place.cancel()
            raise
        else:
            for (_, place), answer in zip(group, answers, strict=True):
                if not place.done():
                    place.set_result(answer)


def _fail(place: asyncio.Future[_Answer], error: Exception) -> None:
    if not place.done():
        place.set_exception(error)
