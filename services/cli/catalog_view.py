"""How policies and arms look in a terminal."""

from typing import TYPE_CHECKING

from bandit.domain.policy import ContextSettings, ContextSource
from services.cli.output import amount, escaped, show, show_json, table

if TYPE_CHECKING:
    from bandit.client import Arm, Policy


def show_policy(policy: "Policy", *, as_json: bool) -> None:
    """A policy with its settings and arms."""
    if as_json:
        show_json(policy)
        return
    settings = policy.settings
    weights = zip(("quality", "cost", "latency"), settings.default_preference.weights, strict=True)
    cost_range = settings.cost_range
    facts = {
        "algorithm": settings.algorithm.value,
        "context": _described(settings.context),
        "learned": ", ".join(objective.label for objective in settings.objectives),
        "preference": ", ".join(f"{name} {amount(weight)}" for name, weight in weights if weight),
        "cost range": f"{amount(cost_range.low)} to {amount(cost_range.high)} USD"
        if cost_range
        else "follows the prices",
        "version": f"{policy.policy_version}, learned {policy.learned_version}",
    }
    archived = " (archived)" if policy.is_archived else ""
    show(f"[bold]{escaped(policy.name)}[/bold]{archived}")
    for name, fact in facts.items():
        show(f"  {name:<11} {escaped(fact)}")
    show_arms(policy.arms)


def show_arms(arms: "tuple[Arm, ...]") -> None:
    """Arms with their prices."""
    numbers = ["in $/M", "out $/M", "fee $", "window"]
    listed = table("", ["arm", "status", *numbers], numbers=numbers)
    for arm in arms:
        price = arm.price
        amounts = (
            (price.input_usd_per_million, price.output_usd_per_million, price.fee_usd)
            if price
            else (None, None, None)
        )
        listed.add_row(
            escaped(arm.name),
            arm.status.value if arm.status else "",
            *map(amount, amounts),
            str(arm.context_window_tokens or "-"),
        )
    show(listed if arms else "  no arms yet: bandit-router arm add --help")


def _described(context: ContextSettings) -> str:
    sources = {
        ContextSource.TEXT: ["the request's text"],
        ContextSource.VECTOR: [f"a vector of {context.vector_length} numbers"],
        ContextSource.NONE: [],
    }
    parts = sources[context.source] + [feature.name for feature in context.named]
    return ", ".join(parts) or "nothing: one answer for all requests"
