"""River's LinUCB under replay."""

from collections.abc import Sequence
from uuid import UUID

from bandit.domain.preference import Tradeoff
from bandit.domain.price import Price
from bandit.evaluation.peers.packages import imported
from bandit.evaluation.peers.scalar import ScalarView
from bandit.evaluation.replay import Arrival, Ask, Choice

_UNKNOWN = float("nan")


class RiverRouter:
    """
    Implements `ReplayRouter` with `river.bandit.LinUCBDisjoint` (Li et al. 2010, Algorithm 1).

    Its defaults: prior precision 1 and noise precision 1 of each arm's Bayesian regression, no
    burn-in; its bound is the mean plus one deviation of the prediction, noise included.  It gets
    the contexts of the policy and, as reward, the utility under the request's trade-off; where
    trade-offs vary, their weights are further features.  An outcome lacking a part of its utility
    teaches it nothing.  It has no budget and knows no prices; an arm that comes back has kept
    what it learned.

    It predicts utility alone, so that quality, cost and latency are NaN in its choices.  It
    chooses with probability 1, except among arms of which it has no outcome: those tie.
    """

    def __init__(
        self, models: Sequence[str], view: ScalarView, *, present: Sequence[str], seed: int
    ) -> None:
        self._policy = imported("river.bandit").LinUCBDisjoint(seed=seed)
        self._models = tuple(models)
        self._present = set(present)
        self._untried = set(models)
        self._view = view
        self._pending: dict[UUID, tuple[dict[int, float], Tradeoff]] = {}

    def choose(self, asks: Sequence[Ask]) -> list[Choice]:
        """Pull once per request."""
        choices = []
        for ask in asks:
            context = dict(enumerate(self._view.context(ask).tolist()))
            present = [model for model in self._models if model in self._present]
            model = self._policy.pull(present, context=context)
            ties = len(self._untried & self._present) if model in self._untried else 1
            self._pending[ask.decision_id] = (context, ask.tradeoff)
            choices.append(
                Choice(self._models.index(model), 1.0 / ties, (_UNKNOWN, _UNKNOWN, _UNKNOWN))
            )
        return choices

    def report(self, arrivals: Sequence[Arrival]) -> None:
        """Update with each utility that is known."""
        for arrival in arrivals:
            context, tradeoff = self._pending.pop(arrival.decision_id)
            reward = self._view.reward(arrival, tradeoff)
            if reward is None:
                continue
            model = self._models[arrival.arm]
            self._policy.update(model, context, reward)
            self._untried.discard(model)

    def set_price(self, model: str, price: Price) -> None:
        """Nothing: it learns what things cost from its rewards."""

    def add_arm(self, model: str, price: Price | None) -> None:
        """Let it pull that arm from now on."""
        self._present.add(model)

    def remove_arm(self, model: str) -> None:
        """No longer let it pull that arm."""
        self._present.discard(model)

    def begin_measuring(self) -> None:
        """Nothing: it keeps no account."""
