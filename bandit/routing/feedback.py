"""The use case of a caller who reports what came back."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from bandit.domain.decision import Decision, DecisionId, made_at
from bandit.domain.errors import (
    BanditError,
    Unavailable,
    Unconfirmed,
    UnknownArm,
    UnknownDecision,
)
from bandit.domain.objective import HEADS, Objective
from bandit.domain.outcome import Disposition, OutcomeRow, Receipt, Report
from bandit.domain.policy import Policy
from bandit.routing.ports import DecisionBacklog, OutcomeLog

FRESH = timedelta(seconds=60)
PATIENCE_S = 2.0
_SUPERSEDED = "superseded"


class Policies(Protocol):
    """The policies as this process knows them."""

    def policy(self, name: str) -> Policy:
        """`UnknownPolicy` if there is none."""
        ...


def disposition_of(sequence: int, existing: Collection[int]) -> Disposition:
    """
    What becomes of a value whose (decision, head, source) has these sequences in the log.

    Only ACCEPTED and CORRECTED are appended; IGNORED means superseded by a higher sequence.
    """
    if sequence in existing:
        return Disposition.DUPLICATE
    if not existing:
        return Disposition.ACCEPTED
    return Disposition.CORRECTED if sequence > max(existing) else Disposition.IGNORED


def values_of(report: Report, decision: Decision) -> dict[Objective, float]:
    """The value of each head that the report brings, in its unit."""
    values: dict[Objective, float] = {}
    if report.quality is not None:
        values[Objective.QUALITY] = report.quality
    elif report.failed:
        values[Objective.QUALITY] = 0.0
    if report.cost_usd is not None:
        values[Objective.COST] = report.cost_usd
    elif report.output_tokens is not None and decision.price is not None:
        values[Objective.COST] = decision.price.usd(decision.input_tokens, report.output_tokens)
    if report.latency_ms is not None:
        values[Objective.LATENCY] = report.latency_ms
    return values


class Feedback:
    """
    Takes outcomes in; acknowledges only what is committed.

    patience_s  how long the outcomes of one policy may take: what is not confirmed then is refused,
                and may be stored all the same
    """

    def __init__(
        self,
        policies: Policies,
        decisions: DecisionBacklog,
        outcomes: OutcomeLog,
        *,
        clock: Callable[[], datetime],
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._policies = policies
        self._decisions = decisions
        self._outcomes = outcomes
        self._clock = clock
        self._patience_s = patience_s

    async def report(self, reports: Sequence[Report]) -> list[list[Receipt] | BanditError]:
        """What became of each report's heads, in order; one that fails harms no other."""
        results: list[list[Receipt] | BanditError] = [[] for _ in reports]
        groups: dict[tuple[str, bool], list[int]] = {}
        for position, report in enumerate(reports):
            groups.setdefault((report.policy, report.dry_run), []).append(position)
        for (name, dry_run), positions in groups.items():
            group = [reports[position] for position in positions]
            answers: Sequence[list[Receipt] | BanditError]
            try:
                async with asyncio.timeout(self._patience_s):
                    answers = await self._report_to(name, group, dry_run=dry_run)
            except TimeoutError:
                answers = [Unconfirmed("it is not confirmed that outcomes are stored")] * len(group)
            for position, answer in zip(positions, answers, strict=True):
                results[position] = answer
        return results

    async def _report_to(
        self, name: str, reports: Sequence[Report], *, dry_run: bool
    ) -> list[list[Receipt] | BanditError]:
        try:
            policy = self._policies.policy(name)
        except BanditError as error:
            return [error for _ in reports]
        ids = {report.decision_id for report in reports}
        # In this order: what leaves the backlog in between is found in the log.
        waiting = self._decisions.waiting(policy.id, ids)
        stored = ids - waiting.keys()
        found = await self._decisions.find(policy.id, stored) if stored else {}
        now = self._clock()
        answers: list[list[Receipt] | BanditError] = []
        rows: list[OutcomeRow] = []
        pending: list[tuple[int, Objective]] = []  # which report and head each row is of
        for position, report in enumerate(reports):
            if report.decision_id in waiting:
                answers.append(Unavailable("the decision is not stored yet", retry_after_s=0.5))
                continue
            try:
                receipts, values = _sorted_out(report, policy, found, now)
            except BanditError as error:
                answers.append(error)
                continue
            answers.append(receipts)
            for objective, value in values.items():
                pending.append((position, objective))
                rows.append(_row(report, objective, value, now))
        dispositions = await self._outcomes.append(policy.id, rows, dry_run=dry_run) if rows else []
        for (position, objective), disposition in zip(pending, dispositions, strict=True):
            reason = _SUPERSEDED if disposition is Disposition.IGNORED else ""
            answer = answers[position]
            assert not isinstance(answer, BanditError)  # noqa: S101 - only receipts have rows
            answer.append(Receipt(objective, disposition, reason))
        return answers


def _sorted_out(
    report: Report, policy: Policy, found: Mapping[DecisionId, Decision], now: datetime
) -> tuple[list[Receipt], dict[Objective, float]]:
    """The heads that are ignored whatever the log holds, and the values to append."""
    decision = found.get(report.decision_id)
    if decision is None:
        born = made_at(report.decision_id)
        is_fresh = born is not None and abs(now - born) < FRESH
        raise UnknownDecision(str(report.decision_id), is_fresh=is_fresh)
    if all(arm.name != report.arm for arm in policy.arms):
        raise UnknownArm(report.arm)
    values = values_of(report, decision)
    if policy.arm(decision.arm_id).name != report.arm:
        return [Receipt(o, Disposition.IGNORED, "other_arm") for o in HEADS if o in values], {}
    learned = policy.settings.objectives
    ignored = [Receipt(o, Disposition.IGNORED, "unknown_head") for o in values if o not in learned]
    return ignored, {o: value for o, value in values.items() if o in learned}


def _row(report: Report, objective: Objective, value: float, now: datetime) -> OutcomeRow:
    return OutcomeRow(
        decision_id=report.decision_id,
        objective=objective,
        source=report.source,
        sequence=report.sequence,
        value=value,
        received_at=now,
        observed_at=report.observed_at,
    )
