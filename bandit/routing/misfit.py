"""What of the log cannot be learned, and why: it is set aside, and keeps nothing else waiting."""

import math
from dataclasses import dataclass

import numpy as np

from bandit.domain.decision import Decision, DecisionId, row_of
from bandit.domain.objective import Objective
from bandit.domain.policy import Policy
from bandit.features.schema import FeatureSchema
from bandit.learning.targets import target_of

DECISION, OUTCOME = "decision", "outcome"  # kinds of misfits


@dataclass(frozen=True, slots=True)
class Damaged:
    """
    A stored decision that cannot be decoded.

    payload   the bytes in question, as they are stored
    """

    id: DecisionId
    reason: str
    payload: bytes | None = None


@dataclass(frozen=True, slots=True)
class Misfit:
    """
    Something of the log that cannot be learned.

    kind     `DECISION` (nothing of it can) or `OUTCOME` (one head's value cannot)
    key      decision id, a slash and the head
    payload  what could not be read, where there is something
    """

    kind: str
    key: str
    reason: str
    payload: bytes | None = None


class Judge:
    """Says of what is read from the log whether a policy can learn from it."""

    def __init__(self, policy: Policy, schema: FeatureSchema) -> None:
        self._policy = policy
        self._schema = schema
        self._arms = {arm.id for arm in policy.arms}

    def fault_of(self, decision: Decision) -> str:
        """Why nothing of a decision can be learned; empty: it can."""
        schema = self._schema
        if decision.schema_id != schema.id:
            return f"its features are of the schema {decision.schema_id!r}, not of {schema.id!r}"
        if decision.context.size != schema.features:
            return f"its context has {decision.context.size} features, not {schema.features}"
        # One sum tells of all but huge numbers, in a third of the time.
        context = decision.context
        if not math.isfinite(context @ context) and not np.isfinite(context).all():
            return "its context is not finite"
        if decision.arm_id not in self._arms:
            return f"the policy has no arm {decision.arm_id}"
        if row_of(decision.candidates, decision.arm_id) < 0:
            return "its arm is not among its candidates"
        return ""

    def is_early(self, decision: Decision) -> bool:
        """Whether its arm is missing because the policy, as it is held here, is older than it."""
        return decision.arm_id not in self._arms and decision.policy_version > self._policy.version

    def fault_in(self, decision: Decision, objective: Objective, value: float) -> str:
        """Why a value cannot be learned; empty: it can."""
        if not math.isfinite(value):
            return f"its value is {value}"
        if objective is Objective.COST and not 0 < decision.list_usd < math.inf:
            return f"the list price of its decision is {decision.list_usd}"
        target = target_of(
            objective,
            value,
            list_usd=decision.list_usd,
            quality_prior_mean=self._policy.settings.quality_prior_mean,
        )
        return "" if math.isfinite(target) else f"its value {value} gives no target"


def misfit_of(
    kind: str,
    decision_id: DecisionId,
    objective: Objective,
    reason: str,
    payload: bytes | None = None,
) -> Misfit:
    """What is kept of a (decision, head) that cannot be learned."""
    return Misfit(kind, f"{decision_id}/{objective.label}", reason, payload)
