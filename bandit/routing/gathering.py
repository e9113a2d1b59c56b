"""Queries that wait together are decided together."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from bandit.domain.errors import BanditError
from bandit.domain.query import Query
from bandit.routing.router import Answer

LINGER_S = 0.004
CROWDED_S = 0.1
MOST_TOGETHER = 256
_FULL_LINGER_EVERY = 16  # groups
_MOST_COMPANIES = 1000  # that are remembered though nobody waits

_Select = Callable[[Sequence[Query]], Awaitable[Sequence[Answer | BanditError]]]
_Place = asyncio.Future[Answer | BanditError]


@dataclass(slots=True, eq=False)
class _Company:
    """
    Those of one policy who wait for the next group to leave.

    leaving        when that is
    expected       how many come together, as far as is known
    groups         that left so far
    under_way      groups that left and are not answered yet
    crowded_until  by the event loop's clock
    """

    waiting: list[tuple[Query, _Place]] = field(default_factory=list)
    leaving: asyncio.Handle | None = None
    expected: int = 1
    groups: int = 0
    under_way: int = 0
    crowded_until: float = 0.0


class Gathering:
    """
    One call of `select` for the queries of one policy that come in company.

    A query that comes when none is under way, and none came in company lately, leaves at once, with
    those of the same turn of the event loop: so a lone caller waits for nobody.  In company a group
    waits for as many as came together before, and no longer than `linger_s`; now and then it waits
    so long in any case, to see whether there are more.

    One turn is not enough in a crowd: the transport brings about one request in each.
    """

    def __init__(
        self,
        select: _Select,
        *,
        linger_s: float = LINGER_S,
        most_together: int = MOST_TOGETHER,
    ) -> None:
        self._select = select
        self._linger_s = linger_s
        self._most_together = most_together
        self._companies: dict[str, _Company] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # a loop holds its tasks weakly

    async def answer(self, query: Query) -> Answer | BanditError:
        """
        The answer to one query.

        A caller who is cancelled stops waiting; the query goes on in its group, as it would alone.
        """
        loop = asyncio.get_running_loop()
        company = self._companies.get(query.policy) or self._new_company(query.policy)
        place: _Place = loop.create_future()
        company.waiting.append((query, place))
        count = len(company.waiting)
        if company.leaving is None:
            is_crowded = company.under_way or loop.time() < company.crowded_until
            company.leaving = (
                loop.call_later(self._linger_s, self._leave, company)
                if is_crowded
                else loop.call_soon(self._leave, company)
            )
        elif count >= self._most_together or (
            count == company.expected and company.groups % _FULL_LINGER_EVERY
        ):
            self._leave(company)
        return await place

    def _new_company(self, policy: str) -> _Company:
        if len(self._companies) >= _MOST_COMPANIES:  # callers may ask for any name
            self._companies = {
                name: company
                for name, company in self._companies.items()
                if company.waiting or company.under_way
            }
        company = self._companies[policy] = _Company()
        return company

    def _leave(self, company: _Company) -> None:
        if company.leaving is not None:
            company.leaving.cancel()
            company.leaving = None
        loop = asyncio.get_running_loop()
        group, company.waiting = company.waiting, []
        company.expected = len(group)
        company.groups += 1
        company.under_way += 1
        if len(group) > 1:
            company.crowded_until = loop.time() + CROWDED_S
        task = loop.create_task(self._answer_all(company, group))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer_all(self, company: _Company, group: Sequence[tuple[Query, _Place]]) -> None:
        try:
            await self._answer_group(group)
        finally:
            company.under_way -= 1

    async def _answer_group(self, group: Sequence[tuple[Query, _Place]]) -> None:
        try:
            answers = await self._select([query for query, _ in group])
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


def _fail(place: _Place, error: Exception) -> None:
    if not place.done():
        place.set_exception(error)
