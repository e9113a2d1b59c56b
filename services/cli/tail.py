"""`bandit-router tail`: decisions and outcomes as they come."""

import time
from collections import OrderedDict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from services.cli.budget_view import charged
from services.cli.failures import CommandError
from services.cli.options import DEFAULT_TENANT, DatabaseUrl, Json, PolicyName, Tenant
from services.cli.output import amount, escaped, plain, show, show_json

if TYPE_CHECKING:
    from services.cli.database import Database, TailedDecision, TailedOutcome

_LATE = timedelta(seconds=10)  # a decision is dated before it is committed
_MOST_AT_ONCE = 1000
_REMEMBERED = 5000


def tail(
    policy: PolicyName,
    last: Annotated[
        int, typer.Option("--last", "-n", min=0, max=_MOST_AT_ONCE, help="Begin with this many.")
    ] = 10,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Go on until Ctrl-C.")
    ] = True,
    interval: Annotated[
        float, typer.Option(min=0.05, metavar="S", help="Seconds between looks.")
    ] = 0.5,
    tenant: Tenant = DEFAULT_TENANT,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """
    Follow a policy's decisions and their outcomes, from the database of the service.

    \b
    bandit-router tail chat --database-url postgresql://user@host/database
    bandit-router tail chat --last 100 --no-follow --json
    """
    from services.cli.database import Database
    from services.settings import Settings

    database = Database(Settings.load(database_url=database_url).database_dsn)
    policy_id = database.policy_id(policy, tenant=tenant)
    if policy_id is None:
        raise CommandError(f"policy {policy!r} does not exist")
    log = _Log(database, policy_id, last=last)
    while True:
        for entry in log.news():
            if as_json:
                show_json({"kind": _kind(entry), **plain(entry)})
            else:
                show(_line(entry))
        if not follow:
            return
        time.sleep(interval)


class _Log:
    """What was shown already: an entry may be committed after one that is younger."""

    def __init__(self, database: "Database", policy_id: UUID, *, last: int) -> None:
        self._database = database
        self._policy_id = policy_id
        self._last: int | None = last
        self._since = datetime.now(UTC)
        self._decisions: OrderedDict[UUID, None] = OrderedDict()
        self._outcomes: OrderedDict[tuple[object, ...], None] = OrderedDict()

    def news(self) -> "Iterator[TailedDecision | TailedOutcome]":
        """What was not shown yet: decisions, then outcomes of decisions that were."""
        yield from self._new_decisions()
        yield from self._new_outcomes()

    def _new_decisions(self) -> "list[TailedDecision]":
        most, since = _MOST_AT_ONCE, self._since - _LATE
        if self._last is not None:
            most, since, self._last = self._last, self._since - timedelta(days=7), None
        found = self._database.decisions(self._policy_id, since=since, newest=most) if most else []
        new = [decision for decision in found if decision.id not in self._decisions]
        for decision in new:
            self._decisions[decision.id] = None
            self._since = max(self._since, decision.at)
        while len(self._decisions) > _REMEMBERED:
            self._decisions.popitem(last=False)
        return new

    def _new_outcomes(self) -> "list[TailedOutcome]":
        watched = list(self._decisions)[-_MOST_AT_ONCE:]
        found = self._database.outcomes(self._policy_id, watched) if watched else []
        keys = [(o.decision_id, o.objective, o.source, o.sequence) for o in found]
        new = [
            outcome for key, outcome in zip(keys, found, strict=True) if key not in self._outcomes
        ]
        self._outcomes = OrderedDict.fromkeys(keys)
        return new


def _kind(entry: "TailedDecision | TailedOutcome") -> str:
    return "outcome" if hasattr(entry, "decision_id") else "decision"


def _line(entry: "TailedDecision | TailedOutcome") -> str:
    from services.cli.database import TailedOutcome

    if isinstance(entry, TailedOutcome):
        correction = f", sequence {entry.sequence}" if entry.sequence else ""
        return (
            f"{entry.received_at.astimezone():%H:%M:%S}   [dim]{entry.decision_id}[/dim]  "
            f"{escaped(entry.arm)}  [green]{entry.objective.label} {amount(entry.value)}[/green]"
            f"  ({escaped(entry.source)}{correction})"
        )
    predicted = ", ".join(f"{name} {amount(mean)}" for name, mean in entry.predicted.items())
    return (
        f"{entry.at.astimezone():%H:%M:%S} [dim]{entry.id}[/dim]  [bold]{escaped(entry.arm)}[/bold]"
        f"  propensity {amount(entry.propensity, digits=3)}  predicted {predicted}"
        + (f"  budget: {charged(entry.budget)}" if entry.budget else "")
    )
