"""The exchange of this process's bookings and leases with the ledger, over and over."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from bandit.domain.errors import Unconfirmed
from bandit.routing.budgets import Budgets
from bandit.routing.ledger import Ledger
from services.logs import Outage, logger
from services.router.snapshots import ServedSnapshots

INTERVAL_S = 0.1  # a process that dies takes the bookings of so long with it

_log = logger(__name__)


async def keep_books(
    budgets: Budgets,
    ledger: Ledger,
    snapshots: ServedSnapshots,
    *,
    clock: Callable[[], datetime],
) -> None:
    """
    Tell the ledger what was booked and ask it for leases, ten times a second, for ever.

    While it cannot be reached, decisions go on from what is in hand and the bookings wait.
    """
    outage = Outage(_log, "keeping the books of budgets")
    while True:
        wishes = budgets.asked(snapshots.policies(), clock())
        if wishes:
            try:
                statements = await ledger.exchange(wishes)
            except Exception as error:
                # Whatever it is, the next exchange tells what this one could not.
                budgets.failed(wishes, is_unknown=isinstance(error, Unconfirmed))
                outage.began(error)
            else:
                budgets.told(wishes, statements, clock())
                outage.ended()
        await asyncio.sleep(INTERVAL_S)
