"""
The price of budget: how much utility a dollar must buy for spending to keep to its target.

A window of recent decisions is solved again and again: at which price would these very decisions
have spent what may be spent?  Solving replaces the step size of dual ascent, whose price is always
late.  The targets are moved by an account of what earlier decisions left over or overspent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bandit.domain.arm import ArmId
from bandit.domain.budget import Budget
from bandit.domain.price import EXPECTED_OUTPUT_TOKENS, LEAST_USD, Price
from bandit.kernels.jit import Array
from bandit.kernels.pacing import price_for_cost, price_for_quality

WINDOW = 300
YOUNG = 20  # decisions after which the price moves by steps
EVERY = 10
GAIN = 0.2
SAFETY, LEAST_TARGET, MOST_TARGET = 0.997, 0.1, 1.1
FIRST_PRICE = 0.05  # of 1 / target
LOWEST_PRICE, HIGHEST_PRICE = 1e-3, 1e3  # of 1 / target
GUARD_COST, GUARD_BALANCE = 2.0, 15.0  # in targets
RARE = 50.0  # decisions that must save for one call


def cost_target(target_usd: float, balance_usd: float) -> float:
    """
    T = clip(.997 B + A / 300, .1 B, 1.1 B): what may be spent per decision, USD.

    What was left over is spent slowly: a window in which spending was cheap is not followed by one
    that overspends by more than a tenth.
    """
    wanted = SAFETY * target_usd + balance_usd / WINDOW
    return min(max(wanted, LEAST_TARGET * target_usd), MOST_TARGET * target_usd)


def quality_target(floor: float, balance: float) -> float:
    """The mirror image: the mean quality that is to be reached now, by what was left over."""
    return min(max(floor - balance / WINDOW, 0.0), 1.0)


def is_too_dear(
    cost_usd: Array,
    high_cost_usd: Array,
    highest_cost_usd: Array,
    *,
    target_usd: float,
    balance_usd: float,
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """
    (arms,): the eligible arms that one decision should not spend on.

    An arm that is not the cheapest, costs more than twice the target, and may cost more than the
    account holds and fifteen targets: by its 95% quantile, or by its 99.9% quantile where what the
    cheapest arm leaves of the target pays for less than one such call in fifty, since calls so rare
    do not average their tail out.  The cheapest arm is never among them.

    cost_usd          (arms,)  expected cost of the eligible arms
    high_cost_usd     (arms,)  95% quantile of one call's cost
    highest_cost_usd  (arms,)  99.9% quantile
    """
    left_usd = target_usd - float(cost_usd.min())
    needed = np.where(cost_usd > RARE * left_usd, highest_cost_usd, high_cost_usd)
    dear = (cost_usd > GUARD_COST * target_usd) & (
        needed > balance_usd + GUARD_BALANCE * target_usd
    )
    dear[np.argmin(cost_usd)] = False
    return dear


@dataclass(frozen=True, slots=True, eq=False)
class Considered:
    """
    What one decision weighed, kept to be solved again.

    utility       (arms,)  sampled from the beliefs; -inf: the arm could not be chosen
    quality       (arms,)  expected
    cost_ratio    (arms,)  expected cost over list price
    input_tokens  of the query
    """

    utility: Array
    quality: Array
    cost_ratio: Array
    input_tokens: int


class Pacer:
    """
    One policy's price of budget in one process, and the recent decisions it is solved from.

    Changed in place: a window of 300 decisions is too much to copy for each.
    """

    def __init__(self, arms: Sequence[ArmId]) -> None:
        self._arms = tuple(arms)
        self._decisions = 0
        self._utility = np.zeros((WINDOW, len(self._arms)))
        self._quality = np.zeros((WINDOW, len(self._arms)))
        self._cost_ratio = np.ones((WINDOW, len(self._arms)))
        self._input_tokens = np.zeros(WINDOW)
        self._price = 0.0
        self._solved_at = -1
        self._prices: tuple[Price | None, ...] = ()

    def price(
        self,
        budget: Budget,
        balance: float,
        *,
        arms: Sequence[ArmId],
        prices: Sequence[Price | None],
        unpriced_usd: float,
    ) -> float:
        """
        Utility per USD, for the next decision; solved anew when it is time, or prices changed.

        balance       the account: USD, or quality under a floor
        prices        of `arms`, in force now
        unpriced_usd  list price of an arm without one
        """
        if tuple(arms) != self._arms:
            self._rearrange(tuple(arms))
        is_due = self._decisions < YOUNG or self._decisions - self._solved_at >= EVERY
        if self._prices != tuple(prices):
            self._prices = tuple(prices)
            is_due = True
        if is_due:
            self._solved_at = self._decisions
            self._solve(budget, balance, unpriced_usd)
        return self._price

    @property
    def last_price(self) -> float:
        """The price that the last decision was made at."""
        return self._price

    def record(self, considered: Considered) -> None:
        """Keep what a decision weighed; the oldest of 300 goes."""
        if len(considered.utility) != len(self._arms):
            return  # made with other arms than are held now
        row = self._decisions % WINDOW
        self._utility[row] = considered.utility
        self._quality[row] = considered.quality
        self._cost_ratio[row] = considered.cost_ratio
        self._input_tokens[row] = considered.input_tokens
        self._decisions += 1

    def _solve(self, budget: Budget, balance: float, unpriced_usd: float) -> None:
        count = min(self._decisions, WINDOW)
        if count == 0:
            self._price = FIRST_PRICE / budget.target_usd if budget.target_usd else 0.0
            return
        costs = self._costs(count, unpriced_usd)
        scale = budget.target_usd or float(costs.mean())
        lowest, highest = LOWEST_PRICE / scale, HIGHEST_PRICE / scale
        utility = self._utility[:count]
        if budget.target_usd is not None:
            target = cost_target(budget.target_usd, balance)
            solved = price_for_cost(utility, costs, target, lowest, highest)
        elif budget.quality_floor is not None:
            target = quality_target(budget.quality_floor, balance)
            solved = price_for_quality(
                utility, costs, self._quality[:count], target, lowest, highest
            )
        else:
            self._price = 0.0
            return
        if self._decisions <= YOUNG:
            self._price = solved
            return
        # The lowest price stands for none at all: a logarithm cannot start from zero.
        before, after = math.log(max(self._price, lowest)), math.log(max(solved, lowest))
        moved = math.exp(before + GAIN * (after - before))
        self._price = 0.0 if moved <= lowest * (1 + 1e-9) else moved

    def _costs(self, count: int, unpriced_usd: float) -> Array:
        """(count, arms) USD expected of every decision kept, at the prices in force now."""
        tokens = self._input_tokens[:count]
        lists = np.empty((count, len(self._arms)))
        for arm, price in enumerate(self._prices):
            if price is None:
                lists[:, arm] = unpriced_usd
            else:
                millionths = (
                    price.input_usd_per_million * tokens
                    + price.output_usd_per_million * EXPECTED_OUTPUT_TOKENS
                )
                lists[:, arm] = np.maximum(millionths / 1e6 + price.fee_usd, LEAST_USD)
        return np.ascontiguousarray(lists * self._cost_ratio[:count])

    def _rearrange(self, arms: tuple[ArmId, ...]) -> None:
        """Keep the columns of the arms that stayed; one that is new could not be chosen before."""
        before = {arm: column for column, arm in enumerate(self._arms)}
        shape = (WINDOW, len(arms))
        utility, quality, ratio = np.full(shape, -np.inf), np.zeros(shape), np.ones(shape)
        for column, arm in enumerate(arms):
            if arm in before:
                utility[:, column] = self._utility[:, before[arm]]
                quality[:, column] = self._quality[:, before[arm]]
                ratio[:, column] = self._cost_ratio[:, before[arm]]
        self._arms, self._utility, self._quality, self._cost_ratio = arms, utility, quality, ratio
