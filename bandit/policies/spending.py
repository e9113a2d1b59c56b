"""On what terms one decision may spend, and which arms these terms leave."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from bandit.domain.arm import Arm, ArmId, ArmStatus
from bandit.domain.budget import EMPTY, Account, Budget
from bandit.domain.price import Price
from bandit.domain.query import Query
from bandit.kernels.jit import Array
from bandit.policies.eligibility import Removal
from bandit.policies.estimates import NORMAL_95, NORMAL_999, Estimates
from bandit.policies.pacing import is_too_dear

_NOTHING: Mapping[ArmId, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Terms:
    """
    What this process may spend on the next decision of a policy.

    budget        None: none is set
    epoch         version of the policy that set the budget
    account       as far as this process knows
    price         of budget, utility per USD
    lease_usd     in hand of the window's limit; infinite without a limit
    limit_name    of the window's limit; None without one
    slots         per exploring arm: decisions in hand; an arm left out is not limited
    explore_usd   per exploring arm: USD in hand for them; an arm left out is not limited
    """

    budget: Budget | None = None
    epoch: int = 0
    account: Account = EMPTY
    price: float = 0.0
    lease_usd: float = math.inf
    limit_name: str | None = None
    slots: Mapping[ArmId, float] = field(default_factory=lambda: _NOTHING)
    explore_usd: Mapping[ArmId, float] = field(default_factory=lambda: _NOTHING)


NO_TERMS = Terms()


def reservations(query: Query, prices: Sequence[Price | None], estimates: Estimates) -> Array:
    """
    (arms,) USD to hold until the call's cost is known.

    The price of the longest answer that was asked for, or, where there is no price or no such
    length, the 95% quantile of one call's cost; and at least what is expected.
    """
    high: Array = np.maximum(estimates.cost_quantile_usd(NORMAL_95), estimates.cost_usd)
    if query.max_output_tokens is None:
        return high
    tokens = query.expected_input_tokens, query.max_output_tokens
    result: Array = np.array(
        [
            quantile if price is None else max(price.usd(*tokens), expected)
            for price, quantile, expected in zip(prices, high, estimates.cost_usd, strict=True)
        ]
    )
    return result


def with_terms(
    removed: NDArray[np.int32],
    arms: Sequence[Arm],
    estimates: Estimates,
    reserved_usd: Array,
    terms: Terms,
) -> tuple[NDArray[np.int32], float]:
    """
    The arms that the terms remove besides those `removed` already, and what was lacking for them.

    First the quota of an exploring arm and its dollars, then the window's limit, then, among what
    is left, arms too dear for the account.  The quota gives way where no other arm is left.

    returns  (arms,) of `Removal`; USD that one more lease would have to bring, 0: nothing lacks;
             more than the whole limit only where every arm it removes may cost more than that
    """
    result = removed.copy()
    for position, arm in enumerate(arms):
        if result[position] != Removal.NONE or arm.status is not ArmStatus.EXPLORE:
            continue
        if terms.slots.get(arm.id, math.inf) < 1:
            result[position] = Removal.EXPLORE_QUOTA
        elif reserved_usd[position] > terms.explore_usd.get(arm.id, math.inf):
            result[position] = Removal.EXPLORE_COST
    if not (result == Removal.NONE).any():
        result[result == Removal.EXPLORE_QUOTA] = Removal.NONE
    lacking = (result == Removal.NONE) & (reserved_usd > terms.lease_usd)
    budget = terms.budget
    coverable = lacking
    if budget is not None and budget.limit_usd is not None:
        coverable = lacking & (reserved_usd <= budget.limit_usd)
        if not coverable.any():
            coverable = lacking
    lacking_usd = float(reserved_usd[coverable].max()) if coverable.any() else 0.0
    result[lacking] = Removal.BUDGET_LIMIT
    left = np.flatnonzero(result == Removal.NONE)
    if budget is not None and budget.target_usd is not None and left.size:
        dear = is_too_dear(
            estimates.cost_usd[left],
            estimates.cost_quantile_usd(NORMAL_95)[left],
            estimates.cost_quantile_usd(NORMAL_999)[left],
            target_usd=budget.target_usd,
            balance_usd=terms.account.balance,
        )
        result[left[dear]] = Removal.BUDGET_GUARD
    return result, lacking_usd
