"""What a policy may spend, or what quality its spending has to buy."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bandit.domain.errors import InvalidInput

LEAST_TARGET_USD, MOST_TARGET_USD = 1e-9, 1e6
MOST_LIMIT_USD = 1e12
LEAST_WINDOW_HOURS, MOST_WINDOW_HOURS = 1 / 60, 24 * 366.0
DEFAULT_WINDOW_HOURS = 24.0
LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class Budget:
    """
    A target, a quality floor or a hard limit; a limit goes with either of the other two.

    target_usd     mean USD per decision that is aimed at, 1e-9 to 1e6
    quality_floor  mean quality that is to be reached at the least cost, 0 to 1; not with a target
    limit_usd      USD that are never exceeded within a window, up to 1e12
    window_hours   length of a window, one minute to a year; windows begin at its multiples since
                   1970-01-01 UTC, so that those of 24 hours are days
    """

    target_usd: float | None = None
    quality_floor: float | None = None
    limit_usd: float | None = None
    window_hours: float = DEFAULT_WINDOW_HOURS

    def __post_init__(self) -> None:
        if self.target_usd is None and self.quality_floor is None and self.limit_usd is None:
            raise InvalidInput("budget", "must set a target, a quality floor or a limit")
        if self.target_usd is not None and self.quality_floor is not None:
            raise InvalidInput("budget.quality_floor", "is not for a budget with a target")
        if self.target_usd is not None and not (
            LEAST_TARGET_USD <= self.target_usd <= MOST_TARGET_USD
        ):
            raise InvalidInput(
                "budget.target_usd", f"must be from {LEAST_TARGET_USD:g} to {MOST_TARGET_USD:g}"
            )
        if self.quality_floor is not None and not 0 <= self.quality_floor <= 1:
            raise InvalidInput("budget.quality_floor", "must be from 0 to 1")
        if self.limit_usd is not None and not 0 < self.limit_usd <= MOST_LIMIT_USD:
            raise InvalidInput("budget.limit_usd", f"must be above 0, up to {MOST_LIMIT_USD:g}")
        if not LEAST_WINDOW_HOURS <= self.window_hours <= MOST_WINDOW_HOURS:
            raise InvalidInput("budget.window_hours", f"must be from 1/60 to {MOST_WINDOW_HOURS:g}")

    @property
    def is_paced(self) -> bool:
        """Whether a price of budget steers the choices: there is a target or a floor."""
        return self.target_usd is not None or self.quality_floor is not None

    def window_start(self, at: datetime) -> datetime:
        """The beginning of the window that `at` lies in, UTC."""
        length_s = self.window_hours * 3600.0
        since_s = math.floor(at.timestamp() / length_s) * length_s
        return datetime.fromtimestamp(0, UTC) + timedelta(seconds=since_s)

    def limit_name(self, at: datetime) -> str:
        """
        Under which the ledger keeps what was taken of the limit in the window that `at` lies in.

        A limit that is raised or lowered goes on in the same window.
        """
        return f"{LIMIT}:{self.window_start(at):%Y-%m-%dT%H:%M:%S}/{self.window_hours:g}h"


@dataclass(frozen=True, slots=True)
class Account:
    """
    What a budget's decisions have spent so far, in all processes together.

    balance    USD left over, or overspent where negative; under a quality floor the sum of
               quality above it
    decisions  booked since the budget was set
    spent_usd  realised where outcomes came, expected elsewhere
    """

    balance: float = 0.0
    decisions: int = 0
    spent_usd: float = 0.0

    def utilisation(self, budget: Budget) -> float | None:
        """Mean spending over the target; None without a target, or without a decision."""
        if budget.target_usd is None or self.decisions == 0:
            return None
        return self.spent_usd / (budget.target_usd * self.decisions)

    def overshoot_usd(self, budget: Budget) -> float | None:
        """USD spent above the target so far, at least 0; None without a target."""
        if budget.target_usd is None:
            return None
        return max(self.spent_usd - budget.target_usd * self.decisions, 0.0)


EMPTY = Account()


@dataclass(frozen=True, slots=True)
class Charge:
    """
    What a budget had to do with one decision, and what was booked for it.

    epoch          version of the policy that set the budget
    price          of budget: utility per USD, 0: the budget did not bind
    balance        of the account when the decision was made, USD or quality
    utilisation    mean spending over the target until then; None: none yet, or no target
    overshoot_usd  USD spent above the target until then; None: no target
    expected_usd   booked until the outcome comes
    reserved_usd   taken from the window's limit until the outcome comes; None: no limit
    limit_name     of the window's limit, see `Budget.limit_name`; None: no limit
    """

    epoch: int
    price: float
    balance: float
    utilisation: float | None
    overshoot_usd: float | None
    expected_usd: float
    reserved_usd: float | None = None
    limit_name: str | None = None
