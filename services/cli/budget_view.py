"""How budgets, what was spent of them, and the trials of new arms look in a terminal."""

from typing import TYPE_CHECKING

from bandit.domain.arm import ArmStatus
from bandit.domain.budget import Budget
from services.cli.output import amount, escaped, show

if TYPE_CHECKING:
    from bandit.client import BudgetStatus, Charge, Policy, PolicyState, Trials


def described_budget(budget: Budget) -> str:
    """What may be spent."""
    parts = []
    if budget.target_usd is not None:
        parts.append(f"{amount(budget.target_usd)} USD per decision aimed at")
    if budget.quality_floor is not None:
        parts.append(f"quality {amount(budget.quality_floor)} aimed at")
    if budget.limit_usd is not None:
        hours = amount(budget.window_hours)
        parts.append(f"at most {amount(budget.limit_usd)} USD in {hours} hours")
    return ", ".join(parts)


def spends(policy: "Policy") -> bool:
    """Whether a policy has a budget, or arms that are being tried."""
    return policy.budget is not None or any(arm.status is ArmStatus.EXPLORE for arm in policy.arms)


def show_budget(policy: str, status: "BudgetStatus | None") -> None:
    """A policy's budget with what was spent."""
    if status is None:
        show(f"[bold]{escaped(policy)}[/bold] has no budget")
        return
    show(f"[bold]{escaped(policy)}[/bold]")
    for line in (_budget_line(status), *_spent_lines(status)):
        show(line)


def show_spending(state: "PolicyState") -> None:
    """What a policy has spent, and how far its new arms have been tried."""
    for line in (*([] if state.budget is None else _spent_lines(state.budget)), *_trials(state)):
        show(line)


def spending_lines(state: "PolicyState") -> list[str]:
    """The budget with what was spent, and the trials of new arms, one line each."""
    status = state.budget
    return [
        *([] if status is None else [_budget_line(status), *_spent_lines(status)]),
        *_trials(state),
    ]


def _trials(state: "PolicyState") -> list[str]:
    return [
        _line("trials", f"{escaped(arm.arm)} {_tried(arm.exploring)}")
        for arm in state.arms
        if arm.exploring is not None
    ]


def _budget_line(status: "BudgetStatus") -> str:
    return _line("budget", described_budget(status.budget))


def _spent_lines(status: "BudgetStatus") -> list[str]:
    budget = status.budget
    lines = [
        _line("spent", f"{amount(status.spent_usd)} USD for {status.decisions} decisions"),
    ]
    if budget.is_paced:
        unit = "quality" if budget.target_usd is None else "USD"
        lines.append(_line("price", f"{amount(status.price)} utility per USD"))
        lines.append(_line("balance", f"{amount(status.balance)} {unit}"))
    if status.utilisation is not None:
        lines.append(_line("utilisation", f"{status.utilisation:.1%} of the target"))
    if status.overshoot_usd is not None:
        lines.append(_line("overshoot", f"{amount(status.overshoot_usd)} USD"))
    if status.window is not None:
        window = status.window
        since = f"{window.start.astimezone():%Y-%m-%d %H:%M}"
        taken = f"{amount(window.taken_usd)} of {amount(window.limit_usd)} USD taken"
        lines.append(_line("window", f"{taken} since {since}"))
    return lines


def charged(charge: "Charge") -> str:
    """What a budget had to do with a decision."""
    parts = [f"price {amount(charge.price)}", f"balance {amount(charge.balance)}"]
    if charge.utilisation is not None:
        parts.append(f"utilisation {charge.utilisation:.1%}")
    if charge.overshoot_usd:
        parts.append(f"overshoot {amount(charge.overshoot_usd)} USD")
    parts.append(f"{amount(charge.expected_usd)} USD expected")
    if charge.reserved_usd is not None:
        parts.append(f"{amount(charge.reserved_usd)} USD reserved")
    return ", ".join(parts)


def _tried(trials: "Trials") -> str:
    tried = f"{trials.taken} of {trials.quota} taken"
    if trials.limit_usd is None:
        return tried
    return f"{tried}, {amount(trials.taken_usd)} of {amount(trials.limit_usd)} USD"


def _line(name: str, fact: str) -> str:
    return f"  {name:<11} {fact}"
