"""A running server under replay: the same stream over the wire."""

import math
import time
import uuid
from collections.abc import Mapping, Sequence

from bandit.client import (
    Arm,
    Decision,
    Estimate,
    Policy,
    RouterClient,
    RouterError,
    outcome,
    query,
)
from bandit.domain.budget import Budget
from bandit.domain.errors import Unavailable
from bandit.domain.policy import ContextSource, PolicySettings
from bandit.domain.preference import Preference, WillingnessToPay
from bandit.domain.price import Price
from bandit.evaluation.replay import Arrival, Ask, Choice
from bandit.evaluation.stream import key_of
from bandit.evaluation.table import OutcomeTable
from bandit.kernels.jit import Array
from bandit.routing.budgets import BALANCE_CAP, QUALITY_CAP
from bandit.wire.router_pb2 import SelectRequest

BATCH = 256
PATIENCE_S = 30.0
_PAUSE_S = 0.005
_EVEN = 1e-12  # of the most that an account may hold: rounding


class TargetRouter:
    """
    Implements `ReplayRouter` by `BatchSelect` and `BatchReport`.

    others       clients of further routers on the same database: the queries of a wave are dealt
                 among all in turn, and what is to be served is served when all of them serve it
    models       those that are there from the beginning; None: all of the table
    is_in_step   under a budget, a wave waits until every router's account has settled, so that the
                 moments of the exchanges between routers and ledger decide nothing
    deciding_s   seconds spent waiting for decisions so far, each committed before its answer
    decided      decisions so far
    """

    def __init__(
        self,
        client: RouterClient,
        table: OutcomeTable,
        settings: PolicySettings,
        prices: Mapping[str, Price],
        *,
        vectors: Array | None,
        seed: int,
        others: Sequence[RouterClient] = (),
        policy: str | None = None,
        models: Sequence[str] | None = None,
        budget: Budget | None = None,
        is_in_step: bool = False,
    ) -> None:
        self.deciding_s = 0.0
        self.decided = 0
        self.policy = policy or f"replay-{uuid.uuid4().hex[:12]}"
        self._client = client
        self._clients = (client, *others)
        self._table = table
        self._vectors = vectors if settings.context.source is ContextSource.VECTOR else None
        self._reads_text = settings.context.source is ContextSource.TEXT
        self._position = {model: i for i, model in enumerate(table.models)}
        client.create_policy(
            self.policy,
            settings=settings,
            arms=[Arm(model, price=prices.get(model)) for model in models or table.models],
            key=key_of(seed),
        )
        self._budget = budget
        self._is_in_step = is_in_step
        self._unbooked = 0  # decisions made before the budget was set
        if budget is not None:
            self._serve(client.set_budget(self.policy, budget))

    def choose(self, asks: Sequence[Ask]) -> list[Choice]:
        """Decide the wave, in batches."""
        requests = []
        for ask in asks:
            tradeoff = ask.tradeoff
            requests.append(
                query(
                    self.policy,
                    text=self._table.texts[ask.row] if self._reads_text else None,
                    vector=None if self._vectors is None else self._vectors[ask.row].tolist(),
                    preference=tradeoff if isinstance(tradeoff, Preference) else None,
                    willingness_to_pay_usd=(
                        tradeoff.usd if isinstance(tradeoff, WillingnessToPay) else None
                    ),
                    input_tokens=int(self._table.request_tokens[ask.row]),
                    decision_id=ask.decision_id,
                )
            )
        started = time.perf_counter()
        answers = self._dealt(requests)
        self.deciding_s += time.perf_counter() - started
        self.decided += len(answers)
        choices = []
        for answer in answers:
            if isinstance(answer, RouterError):
                raise answer
            predicted = answer.predicted
            choices.append(
                Choice(
                    arm=self._position[answer.arm],
                    propensity=answer.propensity,
                    predicted=(
                        _mean(predicted.quality),
                        _mean(predicted.cost_usd),
                        _mean(predicted.latency_ms),
                    ),
                )
            )
        return choices

    def _dealt(self, requests: Sequence[SelectRequest]) -> list[Decision | RouterError]:
        """The answers in the order of the requests, each by the router whose turn it was."""
        answers: dict[int, Decision | RouterError] = {}
        for number, client in enumerate(self._clients):
            turns = range(number, len(requests), len(self._clients))
            for first in range(0, len(turns), BATCH):
                batch = turns[first : first + BATCH]
                decided = client.batch_select([requests[turn] for turn in batch])
                answers.update(zip(batch, decided, strict=True))
        return [answers[turn] for turn in range(len(requests))]

    def report(self, arrivals: Sequence[Arrival]) -> None:
        """Report, and wait until the state that has folded them is served."""
        reports = [
            outcome(
                self.policy,
                decision_id=arrival.decision_id,
                arm=self._table.models[arrival.arm],
                quality=arrival.quality,
                cost_usd=arrival.cost_usd,
                latency_ms=arrival.latency_ms,
            )
            for arrival in arrivals
        ]
        for first in range(0, len(reports), BATCH):
            for answer in self._client.batch_report(reports[first : first + BATCH]):
                if isinstance(answer, RouterError):
                    raise answer
        self.settle()

    def settle(self) -> None:
        """Wait until everything reported is learned and served, and settled where in step."""
        deadline = time.monotonic() + PATIENCE_S
        behind = list(self._clients)
        while True:
            state = behind[-1].state(self.policy)
            if state.pending_outcomes == 0 and state.snapshot_version >= state.learned_version:
                behind.pop()
                if not behind:
                    break
                continue
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"{state.pending_outcomes} outcomes are not learned after {PATIENCE_S:.0f} s: "
                    "is a learner running?"
                )
            time.sleep(_PAUSE_S)

        if self._is_in_step and self._budget is not None and self._budget.is_paced:
            self._settle_accounts(self._budget, deadline)

    def _settle_accounts(self, budget: Budget, deadline: float) -> None:
        """Wait until the ledger has all bookings, and every router decides by its account."""
        cap = QUALITY_CAP if budget.target_usd is None else BALANCE_CAP * budget.target_usd
        for client in self._clients:
            while not self._is_settled(client, cap):
                if time.monotonic() > deadline:
                    raise Unavailable(f"the budget is not settled after {PATIENCE_S:.0f} s")
                time.sleep(_PAUSE_S)

    def _is_settled(self, client: RouterClient, cap: float) -> bool:
        """A preview tells by which balance a router decides; above `cap` none counts."""
        ledger = client.budget(self.policy)
        held = client.preview(
            self.policy,
            text=self._table.texts[0] if self._reads_text else None,
            vector=None if self._vectors is None else self._vectors[0].tolist(),
        ).budget
        if ledger is None or held is None:
            return False
        return ledger.decisions == self.decided - self._unbooked and math.isclose(
            min(ledger.balance, cap), min(held.balance, cap), abs_tol=_EVEN * cap
        )

    def begin_measuring(self) -> None:
        """The budget is set anew, and its account begins with it."""
        if self._budget is not None:
            self._serve(self._client.set_budget(self.policy, self._budget))
            self._unbooked = self.decided

    def set_price(self, model: str, price: Price) -> None:
        """Put a list price in force, and wait until it is served."""
        self._serve(self._client.set_price(self.policy, arm=model, price=price))

    def add_arm(self, model: str, price: Price | None) -> None:
        """Add an arm to the running policy, and wait until it is served."""
        self._serve(self._client.add_arm(self.policy, Arm(model, price=price)))

    def remove_arm(self, model: str) -> None:
        """Retire an arm, and wait until it is not served any more."""
        self._serve(self._client.remove_arm(self.policy, arm=model))

    def _serve(self, policy: Policy) -> None:
        deadline = time.monotonic() + PATIENCE_S
        for client in self._clients:
            while client.state(self.policy).policy_version < policy.policy_version:
                if time.monotonic() > deadline:
                    raise Unavailable(f"a change is not served after {PATIENCE_S:.0f} s")
                time.sleep(_PAUSE_S)

    def archive(self) -> None:
        """Take the policy of the replay out of service."""
        self._client.archive_policy(self.policy)


def _mean(estimate: Estimate | None) -> float:
    return float("nan") if estimate is None else estimate.mean
