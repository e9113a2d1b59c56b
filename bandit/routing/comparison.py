"""Two learned states of a policy, cell by cell: what a rebuild would change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from bandit.domain.arm import ArmId
from bandit.domain.objective import HEADS, Objective
from bandit.domain.policy import Policy
from bandit.kernels.scoring import score
from bandit.learning.decay import Forgetting, as_of
from bandit.learning.sums import Sums
from bandit.policies.estimates import Estimates, estimates_from
from bandit.policies.utility import TYPICAL_INPUT_TOKENS
from bandit.routing.ports import Cell, StoredSums
from bandit.routing.snapshot import Snapshot, snapshot_of


@dataclass(frozen=True, slots=True)
class Side:
    """
    One cell in one of two states.

    weight   what its outcomes count together by now; None: its sums cannot be used
    mean     for a request of which nothing is known, in the objective's unit; None for an arm that
             is retired, and where the sums cannot be used
    fault    why they cannot be; empty: they can
    """

    observations: int
    weight: float | None
    mean: float | None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Compared:
    """
    One (arm, objective) before and after.

    difference   largest absolute difference of the sums as of now; None: one side has none to use
    scale        largest absolute sum after, for the difference to be judged by
    lost         outcomes in the sums before that the log no longer holds
    """

    arm: str
    objective: Objective
    before: Side
    after: Side
    difference: float | None
    scale: float
    lost: int = 0


def compared(
    policy: Policy,
    before: Mapping[Cell, StoredSums],
    after: Mapping[Cell, StoredSums],
    *,
    lost: Mapping[Cell, int],
    now: datetime,
) -> list[Compared]:
    """Every cell that either state has, in the order of the arms."""
    means = [_means(policy, state, now) for state in (before, after)]
    result = []
    for arm in policy.arms:
        for head in HEADS:
            cell = (arm.id, head)
            if cell not in before and cell not in after:
                continue
            states = [before.get(cell), after.get(cell)]
            current = [_current(policy, cell, state, now) for state in states]
            sides = [
                _side(state, sums, mean.get(cell))
                for state, sums, mean in zip(states, current, means, strict=True)
            ]
            result.append(
                Compared(
                    arm.name,
                    head,
                    before=sides[0],
                    after=sides[1],
                    difference=_difference(states, current),
                    scale=0.0 if current[1] is None else float(np.abs(current[1].values).max()),
                    lost=lost.get(cell, 0),
                )
            )
    return result


def expected_of_nothing(snapshot: Snapshot) -> Estimates:
    """
    Estimates per arm and objective at the context that is nothing but the bias.

    The cost is at 500 input tokens.
    """
    bias_alone = np.zeros(snapshot.schema.features)
    bias_alone[-1] = 1.0
    return estimates_from(
        score(snapshot.means, snapshot.covariances, bias_alone),
        snapshot.noise,
        snapshot.list_usd(TYPICAL_INPUT_TOKENS),
        quality_prior_mean=snapshot.policy.settings.quality_prior_mean,
    )


def _means(
    policy: Policy, state: Mapping[Cell, StoredSums], now: datetime
) -> dict[tuple[ArmId, Objective], float]:
    snapshot = snapshot_of(policy, learned_version=0, changed=state, previous=None, now=now)
    if not snapshot.arms:
        return {}
    mean = expected_of_nothing(snapshot).mean
    return {
        (arm.id, head): float(mean[position, head])
        for position, arm in enumerate(snapshot.arms)
        for head in policy.settings.objectives
        if not snapshot.cells[arm.id, head].fault
    }


def _current(policy: Policy, cell: Cell, state: StoredSums | None, now: datetime) -> Sums | None:
    if state is None or state.sums is None:
        return None
    forgetting = Forgetting(policy.settings.half_life_hours.get(cell[1]), state.alarms)
    return as_of(state.sums, now, forgetting)


def _side(state: StoredSums | None, sums: Sums | None, mean: float | None) -> Side:
    if state is None:
        return Side(0, 0.0, mean)
    return Side(state.observations, None if sums is None else sums.weight, mean, state.fault)


def _difference(
    states: Sequence[StoredSums | None], current: Sequence[Sums | None]
) -> float | None:
    """A cell without a state has sums of zero; one whose sums cannot be used has none."""
    if any(state is not None and sums is None for state, sums in zip(states, current, strict=True)):
        return None
    values = [sums.values for sums in current if sums is not None]
    if len({len(each) for each in values}) != 1:
        return None
    difference = float(np.abs(values[0] - (values[1] if len(values) == 2 else 0.0)).max())
    return difference if np.isfinite(difference) else None
