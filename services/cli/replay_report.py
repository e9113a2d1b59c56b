"""What `replay` prints."""

from rich.table import Table

from bandit.evaluation.regret import Reference, Spread
from bandit.evaluation.summary import Summary
from bandit.evaluation.summary import as_json as json_of
from services.cli import output

_REFERENCES = {
    "best_single": "best single model",
    "cheapest": "cheapest model",
    "zero_router": "zero router, same cost",
    "oracle": "oracle per query",
}


def print_summary(summary: Summary, *, as_json: bool) -> None:
    """For a person a table, for a machine JSON."""
    if as_json:
        output.show_json(json_of(summary))
        return
    dropped = f", {summary.dropped} dropped for lack of a model" if summary.dropped else ""
    cost_range = summary.normaliser.cost_range
    output.show(
        f"{summary.queries} queries x {summary.seeds} seeds{dropped}; cost normalised "
        f"({summary.normaliser.cost_form.value}) from {cost_range.low:.3g} to "
        f"{cost_range.high:.3g} USD"
    )
    output.show(_table(summary))
    output.show(
        f"regret per decision {_spread(summary.regret_per_step)}, "
        f"{summary.decisions_per_second:,.0f} decisions per second"
    )
    shares = sorted(summary.shares.items(), key=lambda item: -item[1])
    output.show("shares: " + ", ".join(f"{arm} {share:.1%}" for arm, share in shares))


def _table(summary: Summary) -> Table:
    columns = ("", "quality", "USD per 1,000", "utility", "model")
    table = output.table("", columns, numbers=columns[1:4])
    table.add_row(
        "[bold]this policy[/bold]",
        _spread(summary.quality),
        _spread(summary.cost_usd, scale=1000),
        _spread(summary.utility),
        "",
    )
    for name, label in _REFERENCES.items():
        table.add_row(label, *_cells(summary.references[name]))
    return table


def _spread(value: Spread, *, scale: float = 1.0) -> str:
    return f"{value.mean * scale:.4f} ± {value.std * scale:.4f}"


def _cells(reference: Reference) -> tuple[str, str, str, str]:
    has_utility = reference.utility == reference.utility
    return (
        f"{reference.quality:.4f}",
        f"{reference.cost_usd * 1000:.4f}",
        f"{reference.utility:.4f}" if has_utility else "",
        output.escaped(reference.arm),
    )
