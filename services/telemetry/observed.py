"""The ports and use cases of the router as they are where somebody wants to know what they do."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from bandit.domain.decision import Decision, DecisionId, Recorded
from bandit.domain.errors import BanditError
from bandit.domain.outcome import Disposition, OutcomeRow, Receipt, Report
from bandit.domain.policy import Policy, PolicyId
from bandit.routing.feedback import Feedback, Policies
from bandit.routing.ports import (
    NOTHING_HELD,
    DecisionBacklog,
    DecisionLog,
    Key,
    OutcomeLog,
)


class CommitWitness(Protocol):
    """Who is told of commits."""

    def decisions(self, decisions: Sequence[Decision], began_ns: int, ended_ns: int) -> None:
        """These were committed together, or refused, between two moments (ns since 1970)."""
        ...

    def outcomes(self, began_ns: int, ended_ns: int) -> None:
        """Outcomes of the call that is being answered were, likewise."""
        ...


class TimedDecisionLog:
    """Implements `DecisionLog`: tells how long commits take."""

    def __init__(self, log: DecisionLog, witnesses: Sequence[CommitWitness]) -> None:
        self._log = log
        self._witnesses = witnesses

    async def record(self, decisions: Sequence[Decision]) -> Sequence[Recorded | Exception]:
        """See the port; a commit that failed is not told of."""
        began_ns = time.time_ns()
        recorded = await self._log.record(decisions)
        ended_ns = time.time_ns()
        for witness in self._witnesses:
            witness.decisions(decisions, began_ns, ended_ns)
        return recorded

    async def find(
        self, policy_id: PolicyId, ids: Collection[DecisionId]
    ) -> dict[DecisionId, Decision]:
        """See the port."""
        return await self._log.find(policy_id, ids)


class TimedOutcomeLog:
    """Implements `OutcomeLog`: tells how long commits take."""

    def __init__(self, log: OutcomeLog, witnesses: Sequence[CommitWitness]) -> None:
        self._log = log
        self._witnesses = witnesses

    async def append(
        self,
        policy_id: PolicyId,
        rows: Sequence[OutcomeRow],
        *,
        held_until: Mapping[Key, datetime] = NOTHING_HELD,
        dry_run: bool = False,
    ) -> Sequence[Disposition]:
        """See the port; a trial run commits nothing, and is not told of."""
        began_ns = time.time_ns()
        answer = await self._log.append(policy_id, rows, held_until=held_until, dry_run=dry_run)
        ended_ns = time.time_ns()
        if not dry_run:
            for witness in self._witnesses:
                witness.outcomes(began_ns, ended_ns)
        return answer


class CountedBacklog:
    """
    Implements `DecisionBacklog`: tells of each new decision once.

    told  takes new decisions, and whether they are durable
    """

    def __init__(
        self, backlog: DecisionBacklog, told: Callable[[Sequence[Decision], bool], None]
    ) -> None:
        self._backlog = backlog
        self._told = told
        self.waiting = backlog.waiting
        self.find = backlog.find

    @property
    def is_away(self) -> bool:
        """See the port."""
        return self._backlog.is_away

    async def record(self, decisions: Sequence[Decision]) -> Sequence[Recorded | Exception]:
        """See the port; whoever stops waiting leaves decisions that are carried out."""
        try:
            answers = await self._backlog.record(decisions)
        except asyncio.CancelledError:
            self._told(decisions, False)
            raise
        new = [each for each in answers if isinstance(each, Recorded) and not each.replayed]
        for durable in (True, False):
            some = [each.decision for each in new if each.durable is durable]
            if some:
                self._told(some, durable)
        return answers


class CountedFeedback(Feedback):
    """
    `Feedback` that tells of the receipts which callers get.

    told  takes the policy and the receipts of each report that was no trial run
    """

    def __init__(
        self,
        policies: Policies,
        decisions: DecisionBacklog,
        outcomes: OutcomeLog,
        *,
        clock: Callable[[], datetime],
        told: Callable[[Policy, Sequence[Receipt]], None],
    ) -> None:
        super().__init__(policies, decisions, outcomes, clock=clock)
        self._named = policies.policy
        self._told = told

    async def report(self, reports: Sequence[Report]) -> list[list[Receipt] | BanditError]:
        """See `Feedback`."""
        answers = await super().report(reports)
        for report, answer in zip(reports, answers, strict=True):
            if not report.dry_run and not isinstance(answer, BanditError):
                self._told(self._named(report.policy), answer)
        return answers
