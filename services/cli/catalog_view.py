"""How policies and arms look in a terminal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bandit.domain.objective import Objective
from bandit.domain.policy import ContextSettings, ContextSource, WhenOffline
from bandit.domain.preference import Tradeoff, WillingnessToPay
from bandit.domain.reward_window import RewardWindow
from services.cli.budget_view import described_budget
from services.cli.output import amount, escaped, show, show_json, table

if TYPE_CHECKING:
    from bandit.client import Arm, Policy


def show_policy(policy: "Policy", *, as_json: bool) -> None:
    """A policy with its settings and arms."""
    if as_json:
        show_json(policy)
        return
    settings = policy.settings
    cost_range = settings.cost_range
    facts = {
        "algorithm": settings.algorithm.value,
        "context": _described(settings.context),
        "learned": ", ".join(objective.label for objective in settings.objectives),
        "preference": _wanted_by_default(policy),
        "cost range": f"{amount(cost_range.low)} to {amount(cost_range.high)} USD"
        if cost_range
        else "follows the prices",
        "drift": ", ".join(f"{o.label} {settings.drift.of(o).value}" for o in settings.objectives),
        "trials": f"{settings.explore_quota} for an arm added later",
        "windows": described_windows(settings.reward_windows),
        "offline": "decisions are served, as not durable"
        if settings.when_offline is WhenOffline.SERVE
        else "decisions are refused",
        "budget": "none" if policy.budget is None else described_budget(policy.budget),
        "version": f"{policy.policy_version}, learned {policy.learned_version}",
    }
    named = [("profile", f"{name}: {_wanted(one)}") for name, one in settings.profiles.items()]
    named += [
        ("rule", f"{rule.label}={rule.value}: only {', '.join(rule.arms)}")
        for rule in settings.rules
    ]
    archived = " (archived)" if policy.is_archived else ""
    show(f"[bold]{escaped(policy.name)}[/bold]{archived}")
    for name, fact in [*facts.items(), *named]:
        show(f"  {escaped(f'{name:<11}')} {escaped(fact)}")
    show_arms(policy.arms)


def described_windows(windows: Mapping[Objective, RewardWindow]) -> str:
    """How long outcomes are waited for."""
    parts = [
        f"{objective.label} {amount(window.hours)} h, "
        + ("else nothing" if window.default is None else f"else {amount(window.default)}")
        for objective, window in windows.items()
    ]
    return "; ".join(parts) or "none: outcomes count however late"


def show_arms(arms: "tuple[Arm, ...]") -> None:
    """Arms with their prices."""
    numbers = ["in $/M", "out $/M", "fee $", "window"]
    priors = ["prior"] if any(arm.offline for arm in arms) else []
    limits = ["trials $"] if any(arm.explore_limit_usd for arm in arms) else []
    listed = table("", ["arm", "status", *numbers, *limits, *priors], numbers=[*numbers, *limits])
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
            *(amount(arm.explore_limit_usd) for _ in limits),
            *(_prior(arm) for _ in priors),
        )
    show(listed if arms else "  no arms yet: bandit-router arm add --help")


def _prior(arm: "Arm") -> str:
    """As how many outcomes what was recorded elsewhere counts."""
    return ", ".join(
        f"{objective.label} {amount(offline.strength)} of {offline.rows}"
        for objective, offline in arm.offline.items()
    )


def _wanted_by_default(policy: "Policy") -> str:
    if policy.budget is not None and policy.budget.is_paced:
        return "quality alone, since the budget says what it may cost"
    return _wanted(policy.settings.default_preference)


def _wanted(tradeoff: Tradeoff) -> str:
    if isinstance(tradeoff, WillingnessToPay):
        return f"a unit of quality is worth {amount(tradeoff.usd)} USD"
    weights = zip(("quality", "cost", "latency"), tradeoff.weights, strict=True)
    return ", ".join(f"{name} {amount(weight)}" for name, weight in weights if weight)


def _described(context: ContextSettings) -> str:
    sources = {
        ContextSource.TEXT: ["the request's text"],
        ContextSource.VECTOR: [f"a vector of {context.vector_length} numbers"],
        ContextSource.NONE: [],
    }
    parts = sources[context.source] + [feature.name for feature in context.named]
    return ", ".join(parts) or "nothing: one answer for all requests"
