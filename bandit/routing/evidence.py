"""What a recorded decision and a value of one of its heads teach."""

from bandit.domain.decision import Decision
from bandit.domain.objective import Objective
from bandit.domain.policy import Policy
from bandit.learning.sums import Evidence
from bandit.learning.targets import target_of


def evidence_of(
    position: int,
    decision: Decision,
    objective: Objective,
    value: float,
    weight: float,
    policy: Policy,
) -> Evidence:
    """What one value adds to the sums at `position`; a negative weight takes it back."""
    target = target_of(
        objective,
        value,
        list_usd=decision.list_usd,
        quality_prior_mean=policy.settings.quality_prior_mean,
    )
    return Evidence(position, decision.context, target, weight)
