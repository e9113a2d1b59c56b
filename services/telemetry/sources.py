"""What of a router is looked at, again and again."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from bandit.routing.backlog import Backlog
from bandit.routing.budgets import Budgets
from services.router.snapshots import ServedSnapshots


@dataclass(frozen=True, slots=True, eq=False)
class Sources:
    """What is looked at once a second."""

    backlog: Backlog
    snapshots: ServedSnapshots
    budgets: Budgets
    engine: Engine
    clock: Callable[[], datetime]
