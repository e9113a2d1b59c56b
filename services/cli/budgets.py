"""`bandit-router budget ...`: what a policy may spend, and what it has spent."""

from typing import Annotated

import typer

from bandit.domain.budget import DEFAULT_WINDOW_HOURS
from services.cli import parsing
from services.cli.budget_view import show_budget
from services.cli.catalog_view import show_policy
from services.cli.options import DEFAULT_TARGET, Json, PolicyName, Target, connect
from services.cli.output import show_json

app = typer.Typer(no_args_is_help=True, help="Say what a policy may spend, and what it has spent.")


@app.command("set")
def set_(
    policy: PolicyName,
    target_usd: Annotated[
        float | None,
        typer.Option(metavar="USD", help="Mean cost of a decision that is aimed at."),
    ] = None,
    quality_floor: Annotated[
        float | None,
        typer.Option(
            metavar="Q", help="In place of a target: mean quality to reach at the least cost."
        ),
    ] = None,
    limit: Annotated[
        float | None,
        typer.Option(metavar="USD", help="What calls may take within a window."),
    ] = None,
    window_hours: Annotated[
        float, typer.Option(metavar="H", help="Length of a window; one of 24 hours is a day.")
    ] = DEFAULT_WINDOW_HOURS,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """
    Put a budget in force, in place of the one before.

    Its account begins at nothing; what was taken of a limit in the window that runs stays taken.

    \b
    bandit-router budget set chat --target-usd 0.0005
    bandit-router budget set chat --target-usd 0.0005 --limit 25 --window-hours 24
    bandit-router budget set chat --quality-floor 0.85
    """
    budget = parsing.budget(
        target_usd=target_usd, quality_floor=quality_floor, limit=limit, window_hours=window_hours
    )
    with connect(target) as client:
        show_policy(client.set_budget(policy, budget), as_json=as_json)


@app.command("show")
def show_(policy: PolicyName, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """
    Show a policy's budget, what was spent, and the price that a dollar has now.

    \b
    bandit-router budget show chat
    bandit-router budget show chat --json
    """
    with connect(target) as client:
        status = client.budget(policy)
    if as_json:
        show_json(status)
    else:
        show_budget(policy, status)


@app.command()
def clear(policy: PolicyName, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """
    Take a policy's budget away.

    \b
    bandit-router budget clear chat
    """
    with connect(target) as client:
        show_policy(client.set_budget(policy, None), as_json=as_json)
