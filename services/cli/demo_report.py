"""What `demo` prints."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.table import Table

from bandit.domain.preference import Preference
from bandit.domain.price import Price
from bandit.evaluation.frontier import zero_router
from bandit.evaluation.pictures import Point
from bandit.evaluation.regret import Measured, utilities_of
from bandit.evaluation.table import OutcomeTable
from services.cli import output
from services.cli.demo_result import Demo, UnderBudget


def print_start(
    stream: OutcomeTable, prices: dict[str, Price], mean_delay: float, *, is_json: bool
) -> None:
    """What is about to happen."""
    if is_json:
        return
    output.show(
        f"{len(stream):,} real prompts, {len(stream.models)} models; outcomes arrive "
        f"{mean_delay:.0f} decisions late on average."
    )
    for model, price in prices.items():
        output.show(
            f"  {model}: {price.input_usd_per_million:g} USD per million tokens in, "
            f"{price.output_usd_per_million:g} out"
        )
    output.show("Starting Postgres, a router and a learner ...")


def print_ready(seconds: float, target: str, *, is_json: bool) -> None:
    """Where the service listens."""
    if not is_json:
        output.show(f"Ready at {target} after {seconds:.1f} s.")


def print_result(
    result: Demo, preferences: Sequence[Preference], pictures: Sequence[Path], *, is_json: bool
) -> None:
    """The table against every single model, the pictures and the rate."""
    if is_json:
        output.show_json(_as_json(result, preferences, pictures))
        return
    output.show("")
    output.show(
        "One learned state, three preferences in turn; second half of the stream "
        "(utility = w_q quality - w_c normalised cost):"
    )
    output.show(_table(result, preferences))
    under = result.under_budget
    output.show(
        f"Another policy, which starts from nothing under a budget of {_thousand(under)} USD per "
        f"1,000 prompts; all of its {len(under.table):,}:"
    )
    output.show(_budget_table(under))
    count, seconds = len(result.stream), result.seconds
    output.show(
        f"{result.per_second:,.0f} durable decisions per second in batches; {count:,} prompts in "
        f"{seconds:.1f} s, each batch waiting until the outcomes due were learned."
    )
    output.show(f"learning curve  {pictures[0]}")
    output.show(f"frontier        {pictures[1]}")


def print_next(policy: str, budgeted: str, target: str, database_url: str) -> None:
    """What to try while the service stays up."""
    output.show("")
    output.show("The service stays up until Ctrl-C.  Try, in another terminal:")
    for command in (
        f'bandit-router select {policy} "Prove that 17 is prime." --explain --target {target}',
        f"bandit-router select {policy} 'Hello!' --preference quality=0.5,cost=0.5 "
        f"--target {target}",
        f"bandit-router state {policy} --target {target}",
        f"bandit-router budget show {budgeted} --target {target}",
        f"bandit-router tail {policy} --database-url '{database_url}'",
    ):
        output.show(f"  {output.escaped(command)}")


def _table(result: Demo, preferences: Sequence[Preference]) -> Table:
    names = ("preference", "", "quality", "USD per 1,000", "utility", "share")
    table = output.table("", names, numbers=names[2:])
    for number, (preference, later) in enumerate(zip(preferences, result.later, strict=True)):
        if number:
            table.add_section()
        label = f"quality {preference.quality:g}, cost {preference.cost:g}"
        table.add_row(
            label,
            "[bold]router[/bold]",
            f"[bold]{later.quality:.4f}[/bold]",
            f"[bold]{later.cost_usd * 1000:.4f}[/bold]",
            f"[bold]{later.utility:.4f}[/bold]",
            "",
        )
        for arm in _singles(result, number, preference):
            is_best = arm[0] == later.best_single.arm
            table.add_row(
                "",
                f"{arm[0]}{'  (best single)' if is_best else ''}",
                f"{arm[1]:.4f}",
                f"{arm[2] * 1000:.4f}",
                f"{arm[3]:.4f}",
                f"{later.shares[list(result.stream.models).index(arm[0])]:.1%}",
            )
        zero = later.zero_router
        table.add_row(
            "", "zero router, same cost", f"{zero.quality:.4f}", f"{zero.cost_usd * 1000:.4f}"
        )
    return table


def _budget_table(under: UnderBudget) -> Table:
    names = ("", "quality", "USD per 1,000", "of the budget", "share")
    table = output.table("", names, numbers=names[1:])
    gained = under.gained
    table.add_row(
        "[bold]router[/bold]",
        f"[bold]{gained.quality:.4f}[/bold]",
        f"[bold]{gained.cost_usd * 1000:.4f}[/bold]",
        f"[bold]{_used(under, gained.cost_usd):.1%}[/bold]",
    )
    for number, model in enumerate(under.table.models):
        cost_usd = float(gained.single_cost_usd[number])
        table.add_row(
            model,
            f"{gained.single_quality[number]:.4f}",
            f"{cost_usd * 1000:.4f}",
            f"{_used(under, cost_usd):,.0%}",
            f"{gained.shares[number]:.1%}",
        )
    zero = gained.zero_router
    table.add_row("zero router, same cost", f"{zero.quality:.4f}", f"{zero.cost_usd * 1000:.4f}")
    return table


def _used(under: UnderBudget, cost_usd: float) -> float:
    assert under.budget.target_usd is not None  # noqa: S101 - the demo's budget is a target
    return cost_usd / under.budget.target_usd


def _thousand(under: UnderBudget) -> str:
    return f"{1000 / _used(under, 1.0):g}"


def _singles(
    result: Demo, number: int, preference: Preference
) -> list[tuple[str, float, float, float]]:
    """(model, quality, USD, utility) of always choosing one, on the prompts of the same rows."""
    steps = result.played.stream
    at = np.arange(len(steps))
    at = at[(at >= len(steps) // 2) & (at % len(result.later) == number)]
    rows = steps.rows[at]
    utility = utilities_of(result.stream, rows, [preference] * len(at), result.normaliser)
    return [
        (
            model,
            float(result.stream.quality[rows, position].mean()),
            float(result.stream.cost_usd[rows, position].mean()),
            float(utility[:, position].mean()),
        )
        for position, model in enumerate(result.stream.models)
    ]


def _as_json(
    result: Demo, preferences: Sequence[Preference], pictures: Sequence[Path]
) -> dict[str, object]:
    return {
        "prompts": len(result.stream),
        "preferences": [
            _preference_json(result, preference, later)
            for preference, later in zip(preferences, result.later, strict=True)
        ],
        "frontier": [
            {"cost_weight": float(point.label), **_point_json(result, point)}
            for point in result.frontier
        ],
        "budget": _budget_json(result),
        "durable_decisions_per_second": result.per_second,
        "seconds": result.seconds,
        "pictures": [str(path) for path in pictures],
    }


def _point_json(result: Demo, point: Point) -> dict[str, float]:
    cost_usd = result.held_out.cost_usd.mean(axis=0)
    quality = result.held_out.quality.mean(axis=0)
    zero = zero_router(cost_usd, quality, at_cost_usd=point.cost_usd)
    return {
        "quality": point.quality,
        "cost_usd": point.cost_usd,
        "zero_router_quality": zero,
    }


def _budget_json(result: Demo) -> dict[str, object]:
    under = result.under_budget
    gained = under.gained
    return {
        "target_usd": under.budget.target_usd,
        "prompts": len(under.table),
        "quality": gained.quality,
        "cost_usd": gained.cost_usd,
        "utilisation": gained.utilisation,
        "zero_router": {"quality": gained.zero_router.quality},
        "shares": _shares(under.table, gained),
        "held_out": _point_json(result, under.held_out),
    }


def _shares(table: OutcomeTable, gained: Measured) -> dict[str, float]:
    shares = zip(table.models, gained.shares, strict=True)
    return {model: float(share) for model, share in shares}


def _preference_json(result: Demo, preference: Preference, later: Measured) -> dict[str, object]:
    return {
        "preference": {"quality": preference.quality, "cost": preference.cost},
        "quality": later.quality,
        "cost_usd": later.cost_usd,
        "utility": later.utility,
        "best_single": {"arm": later.best_single.arm, "utility": later.best_single.utility},
        "zero_router": {"quality": later.zero_router.quality},
        "shares": _shares(result.stream, later),
    }
