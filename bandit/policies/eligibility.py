"""Which arms may be chosen for this query, and why the others may not."""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from bandit.domain.arm import Arm
from bandit.domain.errors import InvalidInput, UnknownArmNamed
from bandit.domain.label_rule import LabelRule, permitted
from bandit.domain.objective import Objective
from bandit.domain.query import Query
from bandit.policies.estimates import Estimates


class Removal(IntEnum):
    """The first filter that removed an arm; the numbers are stored and never change."""

    NONE = 0
    STATUS = 1
    ALLOW_ARMS = 2
    DENY_ARMS = 3
    CONTEXT_WINDOW = 4
    MAX_COST = 5
    MAX_LATENCY = 6
    MIN_QUALITY = 7
    LABEL_RULE = 8
    BUDGET_LIMIT = 9  # the window's limit leaves no room for what it may cost
    BUDGET_GUARD = 10  # too dear for the account
    EXPLORE_QUOTA = 11  # new, and tried as often as it may be for now
    EXPLORE_COST = 12  # new, and its trials have cost what they may

    @property
    def label(self) -> str:
        """The name that callers see, that of the request's field where there is one."""
        units = {Removal.MAX_COST: "_usd", Removal.MAX_LATENCY: "_ms"}
        return "" if self is Removal.NONE else self.name.lower() + units.get(self, "")


def removals(
    arms: Sequence[Arm], query: Query, estimates: Estimates, *, rules: Sequence[LabelRule] = ()
) -> NDArray[np.int32]:
    """
    What removed each arm, (arms,) of `Removal`; 0 where the arm is eligible.

    Where several remove it, the first of: status, label rule, deny list, allow list, context
    window, cost, latency, quality.  Limits on these three apply to the expected values.
    """
    result = np.zeros(len(arms), dtype=np.int32)
    tokens = query.expected_input_tokens + (query.max_output_tokens or 0)
    kept = permitted(rules, query.labels)
    # The last filter to write wins, so they stand in reverse order of precedence.
    if query.min_quality is not None:
        result[estimates.quality < query.min_quality] = Removal.MIN_QUALITY
    if query.max_latency_ms is not None:
        result[estimates.latency_ms > query.max_latency_ms] = Removal.MAX_LATENCY
    if query.max_cost_usd is not None:
        result[estimates.cost_usd > query.max_cost_usd] = Removal.MAX_COST
    for position, arm in enumerate(arms):
        if not arm.status.is_choosable:
            result[position] = Removal.STATUS
        elif kept is not None and arm.name not in kept:
            result[position] = Removal.LABEL_RULE
        elif arm.name in query.deny_arms:
            result[position] = Removal.DENY_ARMS
        elif query.allow_arms and arm.name not in query.allow_arms:
            result[position] = Removal.ALLOW_ARMS
        elif arm.context_window_tokens is not None and tokens > arm.context_window_tokens:
            result[position] = Removal.CONTEXT_WINDOW
    return result


def check_constraints(query: Query, arms: Sequence[Arm], objectives: Sequence[Objective]) -> None:
    """Refuse lists that name unknown arms, and limits on what the policy does not learn."""
    names = {arm.name for arm in arms}
    for field, given in (("allow_arms", query.allow_arms), ("deny_arms", query.deny_arms)):
        for position, name in enumerate(given):
            if name not in names:
                raise UnknownArmNamed(f"{field}[{position}]", name)
    for name in query.switch_cost_usd:
        if name not in names:
            raise UnknownArmNamed(f"switch_cost_usd[{name}]", name)
    if query.max_cost_usd is not None and Objective.COST not in objectives:
        raise InvalidInput("max_cost_usd", "cost is not learned by the policy")
    if query.switch_cost_usd and Objective.COST not in objectives:
        raise InvalidInput("switch_cost_usd", "cost is not learned by the policy")
    if query.max_latency_ms is not None and Objective.LATENCY not in objectives:
        raise InvalidInput("max_latency_ms", "latency is not learned by the policy")
