"""What is believed of every arm when nothing is known of the request."""

from dataclasses import dataclass

import numpy as np

from bandit.domain.objective import Objective
from bandit.kernels.scoring import score
from bandit.policies.estimates import estimates_from
from bandit.policies.utility import TYPICAL_INPUT_TOKENS
from bandit.routing.snapshot import LearnedCell, Snapshot


@dataclass(frozen=True, slots=True, eq=False)
class HeadState:
    """
    The belief of one head.

    mean, deviation   of the expected value in the objective's unit, at the context that is nothing
                      but the bias and at 500 input tokens
    """

    objective: Objective
    learned: LearnedCell
    mean: float
    deviation: float


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """
    The learned state of a policy as this process serves it.

    learned_version   of the database
    pending           (decision, head) pairs not yet folded
    heads             per arm of the snapshot, per objective that the policy learns
    """

    snapshot: Snapshot
    learned_version: int
    pending: int
    heads: tuple[tuple[HeadState, ...], ...]


def state_of(snapshot: Snapshot, *, learned_version: int, pending: int) -> State:
    """The state that a snapshot serves."""
    bias_alone = np.zeros(snapshot.schema.features)
    bias_alone[-1] = 1.0
    settings = snapshot.policy.settings
    estimates = estimates_from(
        score(snapshot.means, snapshot.covariances, bias_alone),
        snapshot.noise,
        snapshot.list_usd(TYPICAL_INPUT_TOKENS),
        quality_prior_mean=settings.quality_prior_mean,
    )
    mean, deviation = estimates.mean, estimates.deviation
    heads = tuple(
        tuple(
            HeadState(
                objective=objective,
                learned=snapshot.cells[arm.id, objective],
                mean=float(mean[position, objective]),
                deviation=float(deviation[position, objective]),
            )
            for objective in settings.objectives
        )
        for position, arm in enumerate(snapshot.arms)
    )
    return State(snapshot, learned_version, pending, heads)
