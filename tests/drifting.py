"""An arm that drifts, its outcomes in any order, and the sums that the log then gives."""

import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from bandit.domain.decision import Decision, DecisionId
from bandit.domain.objective import Objective
from bandit.domain.outcome import OutcomeRow
from bandit.domain.policy import Policy
from bandit.learning.alarms import Alarm
from bandit.learning.targets import target_of
from bandit.routing.ports import Cell
from tests.builders import NOW, a_decision, an_outcome

PER_ARM = 120
COST = Objective.COST
Key = tuple[DecisionId, Objective]


def drifting_decisions(policy: Policy, rng: random.Random) -> list[Decision]:
    """Decisions a minute apart, for either of two arms in turn."""
    return [
        a_decision(
            policy,
            at=NOW + timedelta(minutes=number),
            arm=policy.arms[number % 2],
            context=[*(rng.uniform(-1, 1) for _ in range(3)), 1.0],
        )
        for number in range(2 * PER_ARM)
    ]


def drifting_outcomes(
    decisions: list[Decision], rng: random.Random, *, delay: float
) -> list[OutcomeRow]:
    """
    Quality and cost of every decision, as they arrive; the first arm's change in mid-stream, the
    other's not.  Some are corrected later, and some of those are corrected back.

    delay   in decisions; each outcome is late by up to so many
    """
    timed = []
    for number, decision in enumerate(decisions):
        has_changed = number >= PER_ARM and number % 2 == 0
        quality = rng.gauss(0.2 if has_changed else 0.85, 0.1)
        usd = 0.001 * np.exp(rng.gauss(1.5 if has_changed else 0.0, 0.4))
        for objective, value in ((Objective.QUALITY, min(max(quality, 0.0), 1.0)), (COST, usd)):
            due = number + rng.uniform(0, delay)
            values = [value]
            if rng.random() < 0.1:
                values += [rng.random(), value][: rng.randint(1, 2)]
            for sequence, each in enumerate(values):
                row = an_outcome(decision, objective, value=float(each), sequence=sequence)
                timed.append((due + sequence * rng.uniform(0, 2 * delay + 1), row))
    return [row for _, row in sorted(timed, key=lambda item: item[0])]


def latest_values(rows: list[OutcomeRow]) -> dict[Key, float]:
    """What counts of these rows, all of one source: the value of the highest sequence."""
    values: dict[Key, float] = {}
    for row in sorted(rows, key=lambda row: row.sequence):
        values[row.decision_id, row.objective] = row.value
    return values


def sums_from_the_log(
    decisions: list[Decision],
    values: Mapping[Key, float],
    alarms: Mapping[Cell, Sequence[Alarm]],
    *,
    now: datetime,
) -> dict[Cell, NDArray[np.float64]]:
    """
    By definition: every outcome counts its weight at every alarm at or after its decision, and
    fades, from then on, with the cube of the time.
    """
    by_id = {decision.id: decision for decision in decisions}
    sums: dict[Cell, NDArray[np.float64]] = {}
    for (decision_id, objective), value in values.items():
        decision = by_id[decision_id]
        cell = (decision.arm_id, objective)
        weight = 1.0
        for alarm in alarms.get(cell, ()):
            fading = timedelta(hours=alarm.fading_hours)
            weight *= alarm.weight if decision.at <= alarm.at else 1.0
            since = max(decision.at, alarm.at) - alarm.at + fading
            weight *= (since / (now - alarm.at + fading)) ** 3
        x = decision.context.astype(float)
        y = target_of(objective, value, list_usd=decision.list_usd, quality_prior_mean=0.9)
        gram = np.outer(x, x)[np.tril_indices(len(x))]
        added = weight * np.concatenate([gram, x * y, [y * y, 1.0]])
        sums[cell] = sums.get(cell, 0.0) + added
    return sums
