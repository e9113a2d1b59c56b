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
from bandit.domain.policy import Policy, PolicyId
from bandit.routing.ports import DecisionBacklog, Key, OutcomeLog

FRESH = timedelta(seconds=60)
PATIENCE_S = 2.0
RETRY_WAITING_S = 0.5  # after which a decision that waits may be stored
_SUPERSEDED, _LATE = "superseded", "late"
_Numbered = tuple[DecisionId, Objective, str, int]  # what the log keeps one row of


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
        pending: list[
            tuple[int, OutcomeRow, bool]
        ] = []  # which report it is of, whether it is late
        held_until: dict[Key, datetime] = {}
        for position, report in enumerate(reports):
            if report.decision_id in waiting:
                answers.append(
                    Unavailable("the decision is not stored yet", retry_after_s=RETRY_WAITING_S)
                )
                continue
            try:
                receipts, values = _sorted_out(report, policy, found, now)
            except BanditError as error:
                answers.append(error)
                continue
            answers.append(receipts)
            decision = found[report.decision_id]
            held_until |= {(decision.id, head): due for head, due in decision.held_until.items()}
            for objective, value in values.items():
                row = _row(report, objective, value, now)
                deadline = decision.deadlines.get(objective)
                is_late = deadline is not None and now > deadline.due_at
                pending.append((position, row, is_late))
                if not is_late:
                    rows.append(row)
        dispositions = iter(
            await self._outcomes.append(policy.id, rows, held_until=held_until, dry_run=dry_run)
            if rows
            else []
        )
        repeated = await self._repeated(policy.id, [row for _, row, is_late in pending if is_late])
        for position, row, is_late in pending:
            answer = answers[position]
            assert not isinstance(answer, BanditError)  # noqa: S101 - only receipts have rows
            answer.append(
                _receipt_of_late(row, repeated) if is_late else _receipt(row, next(dispositions))
            )
        return answers

    async def _repeated(self, policy_id: PolicyId, late: Sequence[OutcomeRow]) -> set[_Numbered]:
        """Those of rows that came late which had come in time before."""
        once = {_numbered(row): row for row in late}
        if not once:
            return set()
        dispositions = await self._outcomes.append(policy_id, list(once.values()), dry_run=True)
        return {
            number
            for number, disposition in zip(once, dispositions, strict=True)
            if disposition is Disposition.DUPLICATE
        }


def _receipt(row: OutcomeRow, disposition: Disposition) -> Receipt:
    reason = _SUPERSEDED if disposition is Disposition.IGNORED else ""
    return Receipt(row.objective, disposition, reason)


def _receipt_of_late(row: OutcomeRow, repeated: Collection[_Numbered]) -> Receipt:
    """What was counted in time and is sent once more was counted, and its sender is told so."""
    if _numbered(row) in repeated:
        return Receipt(row.objective, Disposition.DUPLICATE)
    return Receipt(row.objective, Disposition.IGNORED, _LATE)


def _numbered(row: OutcomeRow) -> _Numbered:
    return row.decision_id, row.objective, row.source, row.sequence


def decision_among(
    found: Mapping[DecisionId, Decision], id_: DecisionId, *, now: datetime
) -> Decision:
    """The decision of that id; `UnknownDecision`, which says whether it may be on its way."""
    decision = found.get(id_)
    if decision is None:
        born = made_at(id_)
        raise UnknownDecision(str(id_), is_fresh=born is not None and abs(now - born) < FRESH)
    return decision


def _sorted_out(
    report: Report, policy: Policy, found: Mapping[DecisionId, Decision], now: datetime
) -> tuple[list[Receipt], dict[Objective, float]]:
    """The heads that are ignored whatever the log holds, and the values to append."""
    decision = decision_among(found, report.decision_id, now=now)
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
