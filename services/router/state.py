"""What is believed of every arm when nothing is known of the request."""

from dataclasses import dataclass

from bandit.domain.arm import Arm
from bandit.domain.objective import Objective
from bandit.features.schema import FeatureSchema
from bandit.learning.offline import of_schema
from bandit.routing.comparison import expected_of_nothing
from bandit.routing.snapshot import LearnedCell, Snapshot
from services.router.budget_state import SpendingState


@dataclass(frozen=True, slots=True, eq=False)
class HeadState:
    """
    The belief of one head.

    mean, deviation   of the expected value in the objective's unit, at the context that is nothing
                      but the bias and at 500 input tokens
    prior_strength    outcomes that the arm's offline prior counts as
    """

    objective: Objective
    learned: LearnedCell
    mean: float
    deviation: float
    prior_strength: float


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """
    The learned state of a policy as this process serves it.

    learned_version   of the database
    pending           (decision, head) pairs not yet folded, but for those whose window is open
    heads             per arm of the snapshot, per objective that the policy learns
    spending          of the budget, and of exploring arms
    quarantined       what of the log cannot be learned
    """

    snapshot: Snapshot
    learned_version: int
    pending: int
    heads: tuple[tuple[HeadState, ...], ...]
    spending: SpendingState
    quarantined: int


def state_of(
    snapshot: Snapshot,
    *,
    learned_version: int,
    pending: int,
    spending: SpendingState,
    quarantined: int,
) -> State:
    """The state that a snapshot serves."""
    settings = snapshot.policy.settings
    estimates = expected_of_nothing(snapshot)
    mean, deviation = estimates.mean, estimates.deviation
    heads = tuple(
        tuple(
            HeadState(
                objective=objective,
                learned=snapshot.cells[arm.id, objective],
                mean=float(mean[position, objective]),
                deviation=float(deviation[position, objective]),
                prior_strength=_strength(arm, objective, snapshot.schema),
            )
            for objective in settings.objectives
        )
        for position, arm in enumerate(snapshot.arms)
    )
    return State(snapshot, learned_version, pending, heads, spending, quarantined)


def _strength(arm: Arm, objective: Objective, schema: FeatureSchema) -> float:
    offline = of_schema(arm.offline.get(objective), schema)
    return 0.0 if offline is None else offline.strength
