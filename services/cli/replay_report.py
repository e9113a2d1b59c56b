"""What `replay` prints."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from bandit.evaluation.dial import Dial, Frontier
from bandit.evaluation.phases import Phase
from bandit.evaluation.regret import Reference
from bandit.evaluation.spread import Spread
from bandit.evaluation.summary import Summary
from bandit.evaluation.summary import as_json as json_of
from services.cli import output

_REFERENCES = {
    "context_free": "the same, context-free",
    "online_knn": "online kNN",
    "best_single": "best single model",
    "cheapest": "cheapest model",
    "zero_router": "zero router, same cost",
    "oracle": "oracle per query",
}
_MOST_SHARES = 3


def print_summary(summary: Summary, pictures: Sequence[Path], *, as_json: bool) -> None:
    """For a person tables, for a machine JSON."""
    if as_json:
        paths = {"pictures": [str(path) for path in pictures]} if pictures else {}
        output.show_json(json_of(summary) | paths)
        return
    dropped = f", {summary.dropped} dropped for lack of a model" if summary.dropped else ""
    seeds = "seed" if summary.seeds == 1 else "seeds"
    cost_range = summary.normaliser.cost_range
    output.show(
        f"{summary.queries} queries x {summary.seeds} {seeds}{dropped}; cost normalised "
        f"({summary.normaliser.cost_form.value}) from {cost_range.low:.3g} to "
        f"{cost_range.high:.3g} USD"
    )
    output.show(_table(summary))
    output.show(
        f"arena score {_spread(summary.arena_score)}, "
        f"{summary.decisions_per_second:,.0f} decisions per second"
    )
    if summary.utilisation is not None:
        output.show(f"utilisation of the budget {_spread(summary.utilisation)}")
    output.show("shares: " + output.escaped(_shares(summary.shares)))
    if summary.phases:
        output.show("")
        output.show(_phases(summary.phases))
        for phase in summary.phases:
            shares = _shares(phase.shares, most=_MOST_SHARES)
            output.show(f"shares {phase.start} to {phase.end}: {output.escaped(shares)}")
    if summary.frontier is not None:
        output.show("")
        output.show(_frontier(summary.frontier))
        output.show(_aiq(summary.frontier))
    for path in pictures:
        output.show(f"{path.stem:<9} {path}")


def _table(summary: Summary) -> Table:
    columns = (
        *("", "quality", "USD per 1,000", "utility"),
        *("regret", "over zero router", "model"),
    )
    table = output.table("", columns, numbers=columns[1:6])
    table.add_row(
        "[bold]this policy[/bold]",
        _spread(summary.quality),
        _spread(summary.cost_usd, scale=1000),
        _spread(summary.utility),
        _spread(summary.regret_per_step),
        _spread(summary.over_zero_router, is_signed=True),
        "",
    )
    named = [name for name in _REFERENCES if name in summary.references]
    others = [name for name in summary.references if name not in _REFERENCES]
    for name in [*others, *named]:
        label = _REFERENCES.get(name, name)
        table.add_row(output.escaped(label), *_cells(summary.references[name]))
    return table


def _phases(phases: Sequence[Phase]) -> Table:
    """Means alone: the deviations are in the JSON."""
    has_budget = phases[0].utilisation is not None
    numbers = ("decisions", "quality", "USD per 1,000", "utility", "regret")
    columns = (*numbers, *(("utilisation",) if has_budget else ()), "since then")
    table = output.table("", columns, numbers=columns[:-1])
    for phase in phases:
        spent = [] if phase.utilisation is None else [f"{phase.utilisation.mean:.4f}"]
        table.add_row(
            f"{phase.start} to {phase.end}",
            f"{phase.quality.mean:.4f}",
            f"{phase.cost_usd.mean * 1000:.4f}",
            f"{phase.utility.mean:.4f}",
            f"{phase.regret_per_step.mean:.4f}",
            *spent,
            output.escaped(", ".join(phase.changes)),
        )
    return table


def _frontier(frontier: Frontier) -> Table:
    is_budget = frontier.dial is Dial.BUDGET
    first = "budget, USD per 1,000" if is_budget else "weight of cost"
    columns = (first, "quality", "USD per 1,000", "utility")
    table = output.table("", columns, numbers=columns)
    for point in frontier.points:
        table.add_row(
            f"{point.setting * (1000 if is_budget else 1):.4g}",
            _spread(point.quality),
            _spread(point.cost_usd, scale=1000),
            _spread(point.utility),
        )
    return table


def _aiq(frontier: Frontier) -> str:
    low, high = frontier.low_usd * 1000, frontier.high_usd * 1000
    return (
        f"AIQ from {low:.4g} to {high:.4g} USD per 1,000: {_spread(frontier.over_range)} "
        f"(zero router {frontier.zero_router.over_range:.4f}); as the released code divides, by "
        f"the largest cost: {_spread(frontier.by_largest_cost)} "
        f"(zero router {frontier.zero_router.by_largest_cost:.4f})"
    )


def _shares(shares: dict[str, float], *, most: int | None = None) -> str:
    falling = sorted(shares.items(), key=lambda item: -item[1])
    return ", ".join(f"{arm} {share:.1%}" for arm, share in falling[:most])


def _spread(value: Spread, *, scale: float = 1.0, is_signed: bool = False) -> str:
    mean = f"{value.mean * scale:+.4f}" if is_signed else f"{value.mean * scale:.4f}"
    # Of one seed there is no deviation to tell.
    return f"{mean} ± {value.std * scale:.4f}" if value.std else mean


def _cells(reference: Reference) -> tuple[str, ...]:
    return (
        f"{reference.quality:.4f}",
        f"{reference.cost_usd * 1000:.4f}",
        _number(reference.utility),
        _number(reference.regret),
        _number(reference.over_zero_router, is_signed=True),
        output.escaped(reference.arm),
    )


def _number(value: float, *, is_signed: bool = False) -> str:
    if value != value:
        return ""
    return f"{value:+.4f}" if is_signed else f"{value:.4f}"
