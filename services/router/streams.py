"""Many requests on one call: answered in their order, a bounded number of them under way."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any, Generic, TypeVar

MOST_UNDER_WAY = 256

_Request = TypeVar("_Request")
_Item = TypeVar("_Item")


class Stream(Generic[_Request, _Item]):
    """
    The answers to the requests of one stream.

    answer    makes one item; what it raises ends the stream
    stopping  once set, no further request is read

    Requests are read ahead of the answers, `most_under_way` of them: beyond that whoever sends must
    wait until answers are taken, since nothing is read from the wire.
    """

    def __init__(
        self,
        answer: Callable[[_Request], Coroutine[Any, Any, _Item]],
        stopping: asyncio.Event,
        *,
        most_under_way: int = MOST_UNDER_WAY,
    ) -> None:
        self._answer = answer
        self._stopping = stopping
        self._room = asyncio.Semaphore(most_under_way)
        self._line: asyncio.Queue[asyncio.Task[_Item] | None] = asyncio.Queue()

    async def answers(self, requests: AsyncIterator[_Request]) -> AsyncGenerator[_Item, None]:
        """One item per request; ends when there is no more, or when the service stops."""
        reading = asyncio.create_task(self._read(requests))
        watching = asyncio.create_task(self._watch(reading))
        try:
            while (answering := await self._line.get()) is not None:
                try:
                    item = await answering
                finally:
                    self._room.release()
                yield item
            if not reading.cancelled():
                reading.result()
        finally:
            for task in (watching, reading):
                task.cancel()
            while not self._line.empty():
                waiting = self._line.get_nowait()
                if waiting is not None:
                    waiting.cancel()

    async def _read(self, requests: AsyncIterator[_Request]) -> None:
        try:
            await self._room.acquire()
            async for request in requests:
                self._line.put_nowait(asyncio.create_task(self._answer(request)))
                await self._room.acquire()
        finally:
            self._line.put_nowait(None)

    async def _watch(self, reading: asyncio.Task[None]) -> None:
        await self._stopping.wait()
        reading.cancel()
