"""A running server under replay: the same stream over the wire."""

import time
import uuid
from collections.abc import Mapping, Sequence

from bandit.client import Arm, Estimate, RouterClient, RouterError, outcome, query
from bandit.domain.errors import Unavailable
from bandit.domain.policy import ContextSource, PolicySettings
from bandit.domain.preference import Preference, WillingnessToPay
from bandit.domain.price import Price
from bandit.evaluation.replay import Arrival, Ask, Choice
from bandit.evaluation.stream import key_of
from bandit.evaluation.table import OutcomeTable
from bandit.kernels.jit import Array

BATCH = 256
PATIENCE_S = 30.0
_PAUSE_S = 0.005


class TargetRouter:
    """
    Implements `ReplayRouter` by `BatchSelect` and `BatchReport`.

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
        policy: str | None = None,
    ) -> None:
        self.deciding_s = 0.0
        self.decided = 0
        self.policy = policy or f"replay-{uuid.uuid4().hex[:12]}"
        self._client = client
        self._table = table
        self._vectors = vectors if settings.context.source is ContextSource.VECTOR else None
        self._reads_text = settings.context.source is ContextSource.TEXT
        self._position = {model: i for i, model in enumerate(table.models)}
        client.create_policy(
            self.policy,
            settings=settings,
            arms=[Arm(model, price=prices.get(model)) for model in table.models],
            key=key_of(seed),
        )

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
        answers = [
            answer
            for first in range(0, len(requests), BATCH)
            for answer in self._client.batch_select(requests[first : first + BATCH])
        ]
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
        """Wait until everything reported is learned and served."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            state = self._client.state(self.policy)
            if state.pending_outcomes == 0 and state.snapshot_version >= state.learned_version:
                return
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"{state.pending_outcomes} outcomes are not learned after {PATIENCE_S:.0f} s: "
                    "is a learner running?"
                )
            time.sleep(_PAUSE_S)

    def archive(self) -> None:
        """Take the policy of the replay out of service."""
        self._client.archive_policy(self.policy)


def _mean(estimate: Estimate | None) -> float:
    return float("nan") if estimate is None else estimate.mean
