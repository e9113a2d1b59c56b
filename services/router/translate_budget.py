"""Between messages and the domain: budgets, what was spent of them, and trials of new arms."""

from bandit.domain.budget import DEFAULT_WINDOW_HOURS, Budget, Charge
from bandit.wire import catalog_pb2, learning_pb2, router_pb2
from services.router.budget_state import BudgetState, Trials, WindowState
from services.router.translate_fields import moved, present, timestamp


def new_budget(request: catalog_pb2.SetBudgetRequest) -> Budget | None:
    """The budget to put in force; None: take it away."""
    if not request.HasField("budget"):
        return None
    message = request.budget
    hours = present(message, "window_hours")
    with moved("budget.target_usd", "budget.target_usd_per_decision"):
        return Budget(
            target_usd=present(message, "target_usd_per_decision"),
            quality_floor=present(message, "quality_floor"),
            limit_usd=present(message, "limit_usd"),
            window_hours=DEFAULT_WINDOW_HOURS if hours is None else hours,
        )


def budget_message(budget: Budget | None) -> catalog_pb2.Budget | None:
    """What may be spent; None where there is no budget."""
    if budget is None:
        return None
    return catalog_pb2.Budget(
        target_usd_per_decision=budget.target_usd,
        quality_floor=budget.quality_floor,
        limit_usd=budget.limit_usd,
        window_hours=budget.window_hours,
    )


def budget_status_message(state: BudgetState | None) -> catalog_pb2.BudgetStatus | None:
    """A budget with what was spent; None where there is no budget."""
    if state is None:
        return None
    account = state.account
    return catalog_pb2.BudgetStatus(
        budget=budget_message(state.budget),
        price=state.price,
        balance=account.balance,
        decisions=account.decisions,
        spent_usd=account.spent_usd,
        utilisation=account.utilisation(state.budget),
        overshoot_usd=account.overshoot_usd(state.budget),
        window=None if state.window is None else _window_message(state.window),
    )


def charge_message(charge: Charge) -> router_pb2.Charge:
    """What the budget had to do with a decision."""
    return router_pb2.Charge(
        price=charge.price,
        balance=charge.balance,
        utilisation=charge.utilisation,
        overshoot_usd=charge.overshoot_usd,
        expected_usd=charge.expected_usd,
        reserved_usd=charge.reserved_usd,
    )


def trials_message(trials: Trials | None) -> learning_pb2.ExploreStatus | None:
    """How far an exploring arm has been tried; None for any other arm."""
    if trials is None:
        return None
    return learning_pb2.ExploreStatus(
        taken=trials.taken,
        quota=trials.quota,
        limit_usd=trials.limit_usd,
        taken_usd=trials.taken_usd,
    )


def _window_message(window: WindowState) -> catalog_pb2.BudgetWindow:
    return catalog_pb2.BudgetWindow(
        start=timestamp(window.start), limit_usd=window.limit_usd, taken_usd=window.taken_usd
    )
