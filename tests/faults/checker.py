"""
The log held against what callers were told, and what was learned against the log.

Plain SQL and NumPy by definition: nothing of the learner or of the store is used here but
constants and the order of bytes, so that a mistake of theirs is not repeated.
"""

import math
import zlib
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
from numpy.typing import NDArray

from bandit.domain.objective import Objective
from bandit.domain.price import LEAST_USD
from bandit.learning.decay import FADING
from bandit.learning.targets import LEAST_LATENCY_MS, PRIOR_LATENCY_MS
from tests.faults.acknowledged import Acknowledged

TOLERANCE = 1e-9
_MOST_TOLD = 5

Cell = tuple[UUID, UUID, int]  # policy, arm, head
Effective = dict[tuple[UUID, UUID, int], float]  # policy, decision, head


@dataclass(frozen=True, slots=True)
class Checked:
    """
    What a look at the whole database found.

    rounding   the greatest difference of any sum to the log's, over 1 + its greatest number
    findings   what is not as promised; empty: all is well
    """

    decisions: int
    outcomes: int
    cells: int
    rounding: float
    findings: list[str]


def checked(database_url: str, told: Acknowledged) -> Checked:
    """Compare, once nothing is under way or waits to be learned."""
    findings = list(told.findings)
    with psycopg.connect(database_url) as connection:
        waiting = connection.execute("select count(*) from dirty_key").fetchone()
        if waiting != (0,):
            findings.append(f"{waiting} outcomes were not learned")
        findings += _lost_decisions(connection, told)
        findings += _lost_outcomes(connection, told)
        effective = _effective_values(connection)
        findings += _wrong_contributions(connection, effective)
        rounding, cells, wrong = _wrong_sums(connection, effective)
        findings += wrong
        counts = connection.execute(
            "select (select count(*) from decision), (select count(*) from outcome)"
        ).fetchone()
    assert counts is not None
    return Checked(*counts, cells, rounding, findings)


def _lost_decisions(connection: psycopg.Connection, told: Acknowledged) -> list[str]:
    """(b) Every decision that was acknowledged as durable is there, with propensity and arm."""
    stored = {
        (policy, id_): (arm, propensity)
        for policy, id_, arm, propensity in connection.execute(
            "select policy.name, decision.id, arm.name, propensity from decision"
            " join policy on policy.id = decision.policy_id"
            " join arm on (arm.policy_id, arm.id) = (decision.policy_id, decision.arm_id)"
        )
    }
    durable = {key: each for key, each in told.decisions.items() if each.is_durable}
    lost = [str(id_) for policy, id_ in durable if (policy, id_) not in stored]
    other = [
        str(key[1])
        for key, each in durable.items()
        if key in stored and stored[key] != (each.arm, each.propensity)
    ]
    return [
        *_told("durable decisions are not in the log", lost),
        *_told("decisions are in the log as others than was answered", other),
    ]


def _lost_outcomes(connection: psycopg.Connection, told: Acknowledged) -> list[str]:
    """(a) Every acknowledged outcome is there exactly once, with its value, and no other is."""
    stored: defaultdict[tuple[Any, ...], list[float]] = defaultdict(list)
    for *key, value in connection.execute(
        "select policy.name, decision_id, head, source, sequence, value from outcome"
        " join policy on policy.id = outcome.policy_id"
    ):
        stored[tuple(key)].append(value)
    lost = [str(key) for key in told.outcomes if key not in stored]
    wrong = [
        str(key)
        for key, values in stored.items()
        for value in values
        if told.sent.get(key) != value
    ]
    twice = [str(key) for key, values in stored.items() if len(values) > 1]
    new_twice = [str(key) for key, count in told.first_time.items() if count > 1]
    return [
        *_told("acknowledged outcomes are not in the log", lost),
        *_told("outcomes are in the log with another value", wrong),
        *_told("outcomes are in the log more than once", twice),
        *_told("outcomes were acknowledged as new more than once", new_twice),
    ]


def _effective_values(connection: psycopg.Connection) -> Effective:
    """The mean over sources of each source's value with the highest sequence."""
    latest: dict[tuple[UUID, UUID, int], dict[str, tuple[int, float]]] = defaultdict(dict)
    for policy, decision, head, source, sequence, value in connection.execute(
        "select policy_id, decision_id, head, source, sequence, value from outcome"
    ):
        held = latest[policy, decision, head]
        if source not in held or held[source][0] < sequence:
            held[source] = (sequence, value)
    return {
        key: math.fsum(value for _, value in held.values()) / len(held)
        for key, held in latest.items()
    }


def _wrong_contributions(connection: psycopg.Connection, effective: Effective) -> list[str]:
    stored: defaultdict[tuple[UUID, UUID, int], list[float]] = defaultdict(list)
    for *key, value in connection.execute(
        "select policy_id, decision_id, head, value from contribution"
    ):
        policy, decision, head = key
        stored[policy, decision, head].append(value)
    wrong = [
        f"{key}: {stored.get(key)} instead of {value}"
        for key, value in effective.items()
        if len(stored.get(key, [])) != 1 or not math.isclose(stored[key][0], value, rel_tol=1e-12)
    ]
    unfounded = [str(key) for key in stored if key not in effective]
    return [
        *_told("contributions are not the effective values", wrong),
        *_told("contributions come from no outcome", unfounded),
    ]


def _wrong_sums(
    connection: psycopg.Connection, effective: Effective
) -> tuple[float, int, list[str]]:
    """(c) What is stored of each (arm, head) is the fold of the log."""
    stored, epochs, observations, findings = {}, {}, {}, []
    for policy, arm, head, epoch, count, kept in connection.execute(
        "select policy_id, arm_id, head, epoch, observations, sums from posterior"
    ):
        cell = (policy, arm, head)
        epochs[cell], observations[cell] = epoch, count
        if kept[:1] != b"\x01" or zlib.crc32(kept[:1] + kept[5:]) != int.from_bytes(
            kept[1:5], "little"
        ):
            findings.append(f"the sums of {cell} are corrupt")
        else:
            stored[cell] = np.frombuffer(kept, "<f8", offset=5)
    expected, counts = _folded(connection, effective, epochs)
    worst = 0.0
    for cell, sums in expected.items():
        if cell not in stored:
            findings.append(f"nothing was learned of {cell}")
            continue
        difference = float(np.abs(stored[cell] - sums).max())
        relative = difference / (1 + float(np.abs(sums).max()))
        worst = max(worst, relative)
        if not relative <= TOLERANCE:
            findings.append(f"the sums of {cell} differ from the log's by {difference:.3g}")
        if observations[cell] != counts[cell]:
            findings.append(f"{cell} counts {observations[cell]} outcomes, not {counts[cell]}")
    findings += [f"{cell} was learned from nothing" for cell in stored if cell not in expected]
    return worst, len(expected), findings


def _folded(
    connection: psycopg.Connection, effective: Effective, epochs: dict[Cell, datetime]
) -> tuple[dict[Cell, NDArray[np.float64]], dict[Cell, int]]:
    """The sums by definition: one outcome after the other, each with its weight at the epoch."""
    settings = dict(connection.execute("select id, settings from policy").fetchall())
    alarms = defaultdict(list)
    for policy, arm, head, at, weight, fading in connection.execute(
        "select policy_id, arm_id, head, at, weight, fading_hours from alarm"
    ):
        alarms[policy, arm, head].append((at, weight, fading))
    decisions = {
        (policy, id_): (arm, at, context, list_usd)
        for policy, id_, arm, at, context, list_usd in connection.execute(
            "select policy_id, id, arm_id, at, context, list_usd from decision"
        )
    }
    sums: dict[Cell, NDArray[np.float64]] = {}
    counts: defaultdict[Cell, int] = defaultdict(int)
    for (policy, decision, head), value in effective.items():
        arm, at, context, list_usd = decisions[policy, decision]
        cell = (policy, arm, head)
        if cell not in epochs:
            sums.setdefault(cell, np.zeros(1))
            continue
        weight = _weight(at, epochs[cell], settings[policy], Objective(head), alarms[cell])
        x = np.frombuffer(context, "<f4").astype(float)
        y = _target(Objective(head), value, list_usd, settings[policy]["quality_prior_mean"])
        gram = np.outer(x, x)[np.tril_indices(len(x))]
        added = weight * np.concatenate([gram, x * y, [y * y, 1.0]])
        sums[cell] = sums[cell] + added if cell in sums else added
        counts[cell] += 1
    return sums, counts


def _weight(
    at: datetime,
    epoch: datetime,
    settings: dict[str, Any],
    head: Objective,
    alarms: list[tuple[datetime, float, float | None]],
) -> float:
    weight = 1.0
    half_life = settings["half_life_hours"].get(head.label)
    if half_life is not None:
        weight *= 2.0 ** ((at - epoch).total_seconds() / 3600 / half_life)
    for alarmed_at, remaining, fading in alarms:
        if at <= alarmed_at:
            weight *= remaining
        if fading is not None:
            then, now = (
                max((moment - alarmed_at).total_seconds() / 3600, 0.0) + fading
                for moment in (at, epoch)
            )
            weight *= (then / now) ** FADING
    return weight


def _target(head: Objective, value: float, list_usd: float, quality_prior_mean: float) -> float:
    if head is Objective.QUALITY:
        return value - quality_prior_mean
    if head is Objective.COST:
        return math.log(max(value, LEAST_USD) / list_usd)
    return math.log(max(value, LEAST_LATENCY_MS) / PRIOR_LATENCY_MS)


def _told(what: str, which: list[str]) -> list[str]:
    return [f"{len(which)} {what}: {'; '.join(which[:_MOST_TOLD])}"] if which else []
