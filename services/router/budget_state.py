"""What a policy has spent of its budget, and how far its new arms have been tried."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from bandit.domain.arm import ArmId, ArmStatus
from bandit.domain.budget import EMPTY, Account, Budget
from bandit.domain.policy import Policy
from bandit.routing.budgets import Budgets
from bandit.routing.ledger import Allowance, LedgerReader, explore_usd_name, slots_name


@dataclass(frozen=True, slots=True)
class WindowState:
    """The window that now runs; taken: leased or spent, and not returned."""

    start: datetime
    limit_usd: float
    taken_usd: float


@dataclass(frozen=True, slots=True)
class BudgetState:
    """
    A budget with what was spent.

    price    of budget in this process, utility per USD
    account  of all processes
    window   None: there is no limit
    """

    budget: Budget
    price: float
    account: Account
    window: WindowState | None


@dataclass(frozen=True, slots=True)
class Trials:
    """How far an exploring arm has been tried; limit_usd None: its trials may cost anything."""

    taken: int
    quota: int
    limit_usd: float | None
    taken_usd: float


@dataclass(frozen=True, slots=True)
class SpendingState:
    """The budget, if there is one, and the trials of each exploring arm."""

    budget: BudgetState | None = None
    trials: Mapping[ArmId, Trials] = field(default_factory=lambda: MappingProxyType({}))


class SpendingReader:
    """
    Reads what all processes have spent, beside the price of budget in this one.

    budgets   of this process
    """

    def __init__(
        self, ledger: LedgerReader, budgets: Budgets, *, clock: Callable[[], datetime]
    ) -> None:
        self._ledger = ledger
        self._budgets = budgets
        self._clock = clock

    def price(self, policy: Policy) -> float:
        """The price of budget that this process last decided at; 0 before its first decision."""
        status = self._budgets.status(policy)
        return 0.0 if status is None else status[0]

    def read(self, policy: Policy, *, price: float) -> SpendingState:
        """What the ledger says of a policy; blocks."""
        is_exploring = any(arm.status is ArmStatus.EXPLORE for arm in policy.arms)
        budget = policy.budget
        if budget is None and not is_exploring:
            return SpendingState()
        account = EMPTY
        if budget is not None:
            account = self._ledger.account(policy.id, policy.budget_epoch)
        allowances = self._ledger.allowances(policy.id)
        return spending_of(policy, account, allowances, price=price, at=self._clock())


def spending_of(
    policy: Policy,
    account: Account,
    allowances: Mapping[str, Allowance],
    *,
    price: float,
    at: datetime,
) -> SpendingState:
    """What a policy has spent, by its account and by what was taken under each name."""
    budget = policy.budget
    return SpendingState(
        budget=None
        if budget is None
        else BudgetState(budget, price, account, _window(budget, allowances, at)),
        trials={
            arm.id: Trials(
                taken=round(_taken(allowances, slots_name(arm.id))),
                quota=policy.settings.explore_quota,
                limit_usd=arm.explore_limit_usd,
                taken_usd=_taken(allowances, explore_usd_name(arm.id)),
            )
            for arm in policy.arms
            if arm.status is ArmStatus.EXPLORE
        },
    )


def _window(
    budget: Budget, allowances: Mapping[str, Allowance], at: datetime
) -> WindowState | None:
    if budget.limit_usd is None:
        return None
    taken_usd = _taken(allowances, budget.limit_name(at))
    return WindowState(budget.window_start(at), budget.limit_usd, taken_usd)


def _taken(allowances: Mapping[str, Allowance], name: str) -> float:
    held = allowances.get(name)
    return 0.0 if held is None else held.taken
