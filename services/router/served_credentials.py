"""The credentials as this process knows them."""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import MappingProxyType
from typing import TypeVar

from bandit.domain.credential import Credential
from bandit.routing.credentials import Credentials
from services.logs import Outage, logger

POLL_S = 0.25  # a key that is revoked is refused within a second, wherever that is asked
PATIENCE_S = 0.5  # of a call with a key that is not known
LOOK_AGAIN_S = 0.1  # at most one look per this time, however many unknown keys are shown

_NONE: Mapping[str, Credential] = MappingProxyType({})
_Read = TypeVar("_Read")

_log = logger(__name__)


class ServedCredentials:
    """
    Every credential, read again when one changed.

    While the database cannot be read, those known so far stay as they are.  They are read in a
    thread of their own: other people's calls do not hold up a revocation.
    """

    def __init__(self, credentials: Credentials, *, poll_s: float = POLL_S) -> None:
        self._credentials = credentials
        self._poll_s = poll_s
        self._held = _NONE
        self._version: int | None = None
        self._running = asyncio.Lock()
        self._woken = asyncio.Event()
        self._look: asyncio.Task[bool] | None = None
        self._looked_at = 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="credentials")
        self._outage = Outage(_log, "reading keys")

    @property
    def is_loaded(self) -> bool:
        """Whether they were ever read."""
        return self._version is not None

    @property
    def held(self) -> Mapping[str, Credential]:
        """By id, the revoked ones too; another object after every change."""
        return self._held

    async def keep_fresh(self) -> None:
        """Look for changes at every poll and whenever woken, for ever."""
        while True:
            self._woken.clear()
            await self.refresh()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self._poll_s)

    def wake(self) -> None:
        """Something changed: do not wait for the next poll."""
        self._woken.set()

    async def refresh(self) -> bool:
        """Read what changed; whether that succeeded."""
        async with self._running:
            try:
                version = await self._in_thread(self._credentials.version)
                if version != self._version:
                    # Read after the version: what comes in between is read twice, and not missed.
                    held = await self._in_thread(self._credentials.all)
                    self._held = MappingProxyType({each.id: each for each in held})
                    self._version = version
            except Exception as error:
                # Whatever it is, the known ones serve on, and the next poll tries again.
                self._outage.began(error)
                return False
            self._outage.ended()
            return True

    async def look_again(self) -> bool:
        """
        Refresh because a key is not known; whether it succeeded, and soon.

        All who ask within `LOOK_AGAIN_S` share one look.
        """
        if self._look is None:
            self._look = asyncio.create_task(self._next_look())
        try:
            return await asyncio.wait_for(asyncio.shield(self._look), PATIENCE_S)
        except TimeoutError:
            return False

    def close(self) -> None:
        """Read no more; what is being read is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, read: Callable[[], _Read]) -> _Read:
        return await asyncio.get_running_loop().run_in_executor(self._thread, read)

    async def _next_look(self) -> bool:
        await asyncio.sleep(self._looked_at + LOOK_AGAIN_S - time.monotonic())
        self._looked_at, self._look = time.monotonic(), None
        return await self.refresh()
