"""The watch for change in one (arm, head), over one micro-batch of its new outcomes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bandit.domain.decision import Decision
from bandit.domain.objective import Objective
from bandit.domain.policy import Detector, Policy
from bandit.features.schema import FeatureSchema
from bandit.learning.alarms import Alarm, Monitor
from bandit.learning.decay import Forgetting
from bandit.learning.decay import as_of as decayed
from bandit.learning.drift import (
    LEAST_WEIGHT,
    Finding,
    detector_of,
    standardised,
)
from bandit.learning.posterior import posterior_from
from bandit.learning.prior import prior_of
from bandit.learning.sums import Sums
from bandit.routing.ports import Cell, PolicyEvent, StoredSums

# As long as so many outcomes took to come in, those after an alarm count nearly in full.  Fewer
# have the arm tried again sooner, and learn less of it: docs/decisions/0013.
FADING_OUTCOMES = 100
LEAST_FADING_HOURS = 1 / 3600.0


@dataclass(frozen=True, slots=True, eq=False)
class Raised:
    """
    An alarm as it was raised.

    observations  residuals from the last alarm up to this one
    """

    cell: Cell
    alarm: Alarm
    finding: Finding
    observations: int


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """The monitor after a micro-batch, and the alarms that were raised in it."""

    monitor: Monitor
    raised: tuple[Raised, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """The first effective value of a (decision, head)."""

    decision: Decision
    value: float


def watched(
    policy: Policy,
    schema: FeatureSchema,
    cell: Cell,
    *,
    held: StoredSums | None,
    monitor: Monitor | None,
    observed: Sequence[Observed],
    now: datetime,
) -> Watched:
    """
    What the watch over `cell` makes of its new outcomes, in the order of their decisions.

    held      the sums before these outcomes; None: there are none
    observed  corrections left out: they tell nothing new

    Decisions made before the cell was grown, or up to the last alarm, are passed over: what they
    expected was little more than the prior, or is from before the change, however late they come.
    Raises CorruptPosterior if `held` cannot be used.
    """
    kind = policy.settings.drift.of(cell[1])
    detector = detector_of(kind, cell[1])
    memory, observations, alarms = _resumed(monitor, kind)
    latest = _latest(held, monitor, now)
    grown_at = None if monitor is None else monitor.grown_at
    raised: list[Raised] = []

    sums = held.sums if held is not None else None
    current = (
        decayed(sums, now, Forgetting(policy.settings.half_life_hours.get(cell[1]), alarms))
        if sums is not None
        else None
    )
    weight = current.weight if current is not None else 0.0
    noise: float | None = None
    for each in sorted(observed, key=lambda each: (each.decision.at, each.decision.id)):
        decision = each.decision
        latest = decision.at if latest is None else max(latest, decision.at)
        is_watched = (
            grown_at is not None
            and weight > LEAST_WEIGHT
            and decision.at >= grown_at
            and not (alarms and decision.at <= alarms[-1].at)
        )
        weight += 1.0
        if detector is None or grown_at is None or not is_watched:
            continue
        if noise is None:
            noise = _noise(schema, cell[1], current, is_priced=decision.price is not None)
        chosen = decision.chosen
        residual = standardised(
            cell[1],
            each.value,
            expected=float(chosen["mean"][cell[1]]),
            deviation=float(chosen["deviation"][cell[1]]),
            noise=noise,
        )
        if residual is None:
            continue
        observations += 1
        memory, finding = detector.observe(memory, residual)
        if finding is not None:
            alarm = Alarm(at=latest, fading_hours=_fading_hours(grown_at, latest, observations))
            alarms = (*alarms, alarm)
            raised.append(Raised(cell, alarm, finding, observations))
            weight, observations, grown_at = weight * alarm.weight, 0, None
    if grown_at is None and weight > LEAST_WEIGHT:
        grown_at = now
    kept = Monitor(latest or now, kind, grown_at, memory, observations, alarms)
    return Watched(kept, tuple(raised))


def event_of(policy: Policy, raised: Raised, *, at: datetime) -> PolicyEvent:
    """What people are told of an alarm."""
    arm_id, objective = raised.cell
    return PolicyEvent(
        at=at,
        who="learner",
        kind="drift_alarm",
        detail={
            "arm": policy.arm(arm_id).name,
            "objective": objective.label,
            "direction": raised.finding.direction.value,
            "statistic": raised.finding.statistic,
            "observations": raised.observations,
            "decided_until": raised.alarm.at.isoformat(),
            "weight": raised.alarm.weight,
            "fading_hours": raised.alarm.fading_hours,
        },
    )


def _fading_hours(grown_at: datetime, latest: datetime, observations: int) -> float:
    """At the pace of the outcomes that were watched since the last alarm."""
    hours = (latest - grown_at).total_seconds() / 3600.0
    return max(FADING_OUTCOMES * hours / observations, LEAST_FADING_HOURS)


def _resumed(
    monitor: Monitor | None, kind: Detector
) -> tuple[tuple[float, ...], int, tuple[Alarm, ...]]:
    """Memory, observations and alarms; one detector's memory is nothing to another."""
    if monitor is None:
        return (), 0, ()
    if monitor.detector is not kind:
        return (), 0, monitor.alarms
    return monitor.memory, monitor.observations, monitor.alarms


def _latest(held: StoredSums | None, monitor: Monitor | None, now: datetime) -> datetime | None:
    """No decision in the sums was made later; None: there is none."""
    if monitor is not None:
        return monitor.latest
    # Sums from before there were monitors: their decisions were made by now.
    return now if held is not None and held.observations else None


def _noise(
    schema: FeatureSchema, objective: Objective, sums: Sums | None, *, is_priced: bool
) -> float:
    prior = prior_of(schema, objective, is_priced=is_priced)
    if sums is None:
        return prior.noise_deviation**2
    return posterior_from(sums, prior).noise
