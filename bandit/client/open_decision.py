"""A decision while its answer is made: latency and failure are reported without being told."""

import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import Generic, TypeVar
from uuid import UUID

from bandit.client import calls
from bandit.client.conversation import Call
from bandit.client.errors import RouterError
from bandit.client.results import Decision, ReportResult

R = TypeVar("R")

_log = logging.getLogger("bandit.client")


class OpenDecision(Generic[R]):
    """
    A decision between its selection and the end of the block.

    decision     the answer to Select
    arm          the arm that answers: the chosen one, or the fallback
    unreported   why the report at the end of the block did not get through; None: it did

    R is what `report` gives: a result, or one to be awaited.
    """

    def __init__(self, decision: Decision, run: Callable[[Call[ReportResult]], R]) -> None:
        self.decision = decision
        self.arm = decision.arm
        self.unreported: RouterError | None = None
        self._run = run
        self._started = time.perf_counter()
        self._has_latency = False

    @property
    def id(self) -> UUID:
        """The decision's id."""
        assert self.decision.id is not None  # noqa: S101 - only a preview has none
        return self.decision.id

    def use(self, arm: str) -> None:
        """
        Say that the chosen arm failed and that this one answers instead.

        The chosen arm's failure is reported at the end of the block.  Outcomes of the fallback are
        sent under its own name, and teach nothing about the arm that was chosen.
        """
        self.arm = arm

    def report(
        self,
        *,
        quality: float | None = None,
        cost_usd: float | None = None,
        latency_ms: float | None = None,
        output_tokens: int | None = None,
        sequence: int = 0,
        observed_at: datetime | None = None,
    ) -> R:
        """
        Report what is known of the answer, in the block or later.

        quality         0 to 1
        latency_ms      None: from the selection to the end of the block
        output_tokens   gives the cost at the decision's price, where `cost_usd` is not known
        sequence        the same again is a repetition; a higher one corrects
        """
        self._has_latency |= latency_ms is not None
        return self._run(
            calls.report(
                self.decision.policy,
                decision_id=self.id,
                arm=self.arm,
                quality=quality,
                cost_usd=cost_usd,
                latency_ms=latency_ms,
                output_tokens=output_tokens,
                sequence=sequence,
                observed_at=observed_at,
            )
        )

    def closing(self, error: BaseException | None) -> Call[ReportResult] | None:
        """What to report at the end of the block, which `error` ended; None: nothing."""
        chosen = self.decision.arm
        if self.arm != chosen or isinstance(error, Exception):
            return calls.report(self.decision.policy, decision_id=self.id, arm=chosen, failed=True)
        # An interrupt or a cancellation is nobody's failure, and its time is no answer's latency.
        if error is not None or self._has_latency:
            return None
        latency_ms = (time.perf_counter() - self._started) * 1000
        return calls.report(
            self.decision.policy, decision_id=self.id, arm=chosen, latency_ms=max(latency_ms, 0.001)
        )

    def note(self, error: RouterError) -> None:
        """
        Keep why the report at the end of the block did not get through.

        It is logged and not raised: the answer is there, and must not be lost with its latency.
        """
        self.unreported = error
        _log.warning("decision %s: its outcome was not reported: %s", self.id, error)
