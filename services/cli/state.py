"""`bandit-router state`: what was learned."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.budget_view import spending_lines
from services.cli.catalog_view import described_windows
from services.cli.options import DEFAULT_TARGET, Json, PolicyName, Target, connect
from services.cli.output import amount, console, escaped, show, show_json, table, with_deviation

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from bandit.client import HeadState, PolicyState


def state(
    policy: PolicyName,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until Ctrl-C.")] = False,
    interval: Annotated[
        float, typer.Option(min=0.1, metavar="S", help="Seconds between looks, with --watch.")
    ] = 1.0,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """
    Show what is believed of each arm of a policy.

    Means are for a request of which nothing is known, the cost at 500 input tokens.

    \b
    bandit-router state chat
    bandit-router state chat --watch
    bandit-router state chat --json
    """
    with connect(target) as client:
        if not watch:
            found = client.state(policy)
            if as_json:
                show_json(found)
            else:
                show(_view(found))
            return
        if as_json:
            while True:
                show_json(client.state(policy))
                time.sleep(interval)
        from rich.live import Live

        with Live(_view(client.state(policy)), console=console(), auto_refresh=False) as live:
            while True:
                time.sleep(interval)
                live.update(_view(client.state(policy)), refresh=True)


def _view(found: "PolicyState") -> "Group":
    """The beliefs, and beneath them what was spent."""
    from rich.console import Group

    windows = []
    if found.reward_windows:
        told = described_windows(found.reward_windows)
        windows.append(f"  {'windows':<11} {escaped(told)}")
    return Group(_table(found), *windows, *spending_lines(found))


def _table(found: "PolicyState") -> "Table":
    behind = found.learned_version - found.snapshot_version
    numbers = ["outcomes", "weight", "prior", "mean ± deviation", "version"]
    listed = table(
        f"[bold]{escaped(found.policy)}[/bold], version {found.policy_version}, "
        f"learned {found.learned_version}" + (f" ({behind} behind)" if behind > 0 else "") + ", "
        f"{found.pending_outcomes} outcomes pending, "
        + (f"[yellow]{found.quarantined} set aside[/yellow], " if found.quarantined else "")
        + f"context counts {found.context_weight:.0%}",
        ["arm", "status", "objective", *numbers, "alarms", "fault"],
        numbers=numbers,
    )
    for arm in found.arms:
        for position, head in enumerate(arm.heads):
            listed.add_row(
                escaped(arm.arm) if position == 0 else "",
                arm.status.value if position == 0 else "",
                head.objective.label,
                str(head.observations),
                amount(head.weight),
                amount(head.prior_strength) if head.prior_strength else "",
                with_deviation(head.mean, head.deviation),
                str(head.version),
                _alarms(head),
                f"[bold red]{escaped(head.fault)}[/bold red]" if head.fault else "",
                end_section=position == len(arm.heads) - 1,
            )
    return listed


def _alarms(head: "HeadState") -> str:
    """How often it changed, and when it last did."""
    if head.alarmed_at is None:
        return ""
    return f"{head.alarms}, last {head.alarmed_at.astimezone():%Y-%m-%d %H:%M}"
