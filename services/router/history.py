"""What is kept of the learned state, and making it anew, as this process offers them."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TypeVar

from bandit.domain.errors import UnknownPolicy
from bandit.domain.policy import Policy
from bandit.domain.tenant import DEFAULT_TENANT, Tenant
from bandit.routing.history import History, SnapshotInfo
from bandit.routing.log_fold import RebuildStore
from bandit.routing.ports import Catalog
from bandit.routing.rebuild_rules import Asked
from bandit.routing.rebuilding import Rebuilt, rebuild
from services.logs import logger
from services.router.freshness import KeptFresh
from services.router.request import call_facts

_log = logger(__name__)
_Answer = TypeVar("_Answer")


class ServedHistory:
    """
    `routing.history` and `routing.rebuilding` of a tenant, one rebuild at a time.

    What was promoted is served before the answer leaves.

    thread   one, for the rebuilds of all tenants
    """

    def __init__(
        self,
        catalog: Catalog,
        history: History,
        rebuilds: RebuildStore,
        snapshots: KeptFresh,
        thread: ThreadPoolExecutor,
        *,
        clock: Callable[[], datetime],
        tenant: Tenant = DEFAULT_TENANT,
    ) -> None:
        self._catalog = catalog
        self._tenant = tenant
        self._history = history
        self._rebuilds = rebuilds
        self._snapshots = snapshots
        self._clock = clock
        self._thread = thread

    async def snapshots(self, name: str) -> Sequence[SnapshotInfo]:
        """The snapshots of a policy, newest first."""

        def blocking() -> Sequence[SnapshotInfo]:
            return self._history.snapshots(self._catalog.get(name, self._tenant).id)

        return await asyncio.to_thread(blocking)

    async def rebuild(self, name: str, asked: Asked, *, who: str) -> Rebuilt:
        """
        Make the state of a policy anew from the log.

        A caller who leaves changes nothing: what was begun is finished.
        """

        def blocking() -> Rebuilt:
            # From the database, at the last moment: a rebuild has to know every arm.
            policy = _in_service(self._catalog.get(name, self._tenant))
            return rebuild(self._rebuilds, policy, asked, now=self._clock(), who=who)

        result = await self._in_thread(blocking)
        if result.learned_version is not None:
            _log.warning(
                "learned state was replaced",
                policy=name,
                tenant=self._tenant,
                who=who,
                learned_version=result.learned_version,
                changed=result.changed,
                rows_left_out=result.rows_left_out,
                **call_facts(),
            )
            await self._snapshots.refresh()
        return result

    async def _in_thread(self, call: Callable[[], _Answer]) -> _Answer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


def _in_service(policy: Policy) -> Policy:
    if policy.is_archived:
        raise UnknownPolicy(policy.name)
    return policy
