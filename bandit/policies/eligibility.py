"""Which arms may be chosen for this query, and why the others may not."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from bandit.domain.arm import Arm
from bandit.domain.errors import InvalidInput, UnknownArmNamed
from bandit.domain.label_rule import LabelRule, permitted
from bandit.domain.objective import Objective
from bandit.domain.query import Query
from bandit.kernels.jit import Array
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


@dataclass(frozen=True, slots=True, eq=False)
class Filters:
    """
    What a policy's arms and rules remove; made once for all queries.

    positions  of the arms' names
    is_closed  (arms,)  in a status in which no arm is chosen
    window     (arms,)  tokens that each arm takes, infinite without a limit; None: none has one
    """

    positions: Mapping[str, int]
    is_closed: NDArray[np.bool_]
    window: Array | None
    rules: tuple[LabelRule, ...]

    def removals(self, queries: Sequence[Query], estimates: Estimates) -> NDArray[np.int32]:
        """
        What removed each arm, (queries, arms) of `Removal`; 0 where the arm is eligible.

        Where several remove it, the first of: status, label rule, deny list, allow list, context
        window, cost, latency, quality.  Limits on these three apply to the expected values.

        estimates  (queries, arms)
        """
        result = np.zeros((len(queries), len(self.positions)), dtype=np.int32)
        # The last filter to write wins, so they stand in reverse order of precedence.
        for row, query in enumerate(queries):
            removed = result[row]
            if query.min_quality is not None:
                removed[estimates.quality[row] < query.min_quality] = Removal.MIN_QUALITY
            if query.max_latency_ms is not None:
                removed[estimates.latency_ms[row] > query.max_latency_ms] = Removal.MAX_LATENCY
            if query.max_cost_usd is not None:
                removed[estimates.cost_usd[row] > query.max_cost_usd] = Removal.MAX_COST
            if self.window is not None:
                tokens = query.expected_input_tokens + (query.max_output_tokens or 0)
                removed[tokens > self.window] = Removal.CONTEXT_WINDOW
            if query.allow_arms:
                removed[~self._among(query.allow_arms)] = Removal.ALLOW_ARMS
            if query.deny_arms:
                removed[self._among(query.deny_arms)] = Removal.DENY_ARMS
            if self.rules and query.labels:
                kept = permitted(self.rules, query.labels)
                if kept is not None:
                    removed[~self._among(kept)] = Removal.LABEL_RULE
        result[:, self.is_closed] = Removal.STATUS
        return result

    def _among(self, names: Iterable[str]) -> NDArray[np.bool_]:
        """(arms,) whether each is named."""
        found = np.zeros(len(self.positions), dtype=np.bool_)
        for name in names:
            if name in self.positions:  # a rule may name an arm that is gone
                found[self.positions[name]] = True
        return found


def filters_of(arms: Sequence[Arm], rules: Sequence[LabelRule] = ()) -> Filters:
    """The filters of these arms, in their order."""
    windows = [arm.context_window_tokens for arm in arms]
    return Filters(
        positions={arm.name: position for position, arm in enumerate(arms)},
        is_closed=np.array([not arm.status.is_choosable for arm in arms], dtype=np.bool_),
        window=np.array([np.inf if limit is None else limit for limit in windows])
        if any(limit is not None for limit in windows)
        else None,
        rules=tuple(rules),
    )


def check_constraints(query: Query, arms: Sequence[Arm], objectives: Sequence[Objective]) -> None:
    """Refuse lists that name unknown arms, and limits on what the policy does not learn."""
    if query.allow_arms or query.deny_arms or query.switch_cost_usd:
        _check_names(query, {arm.name for arm in arms})
    if query.max_cost_usd is not None and Objective.COST not in objectives:
        raise InvalidInput("max_cost_usd", "cost is not learned by the policy")
    if query.switch_cost_usd and Objective.COST not in objectives:
        raise InvalidInput("switch_cost_usd", "cost is not learned by the policy")
    if query.max_latency_ms is not None and Objective.LATENCY not in objectives:
        raise InvalidInput("max_latency_ms", "latency is not learned by the policy")


def _check_names(query: Query, names: Collection[str]) -> None:
    for field, given in (("allow_arms", query.allow_arms), ("deny_arms", query.deny_arms)):
        for position, name in enumerate(given):
            if name not in names:
                raise UnknownArmNamed(f"{field}[{position}]", name)
    for name in query.switch_cost_usd:
        if name not in names:
            raise UnknownArmNamed(f"switch_cost_usd[{name}]", name)
