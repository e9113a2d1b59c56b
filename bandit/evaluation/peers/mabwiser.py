"""MABWiser's linear bandits under replay."""

from collections.abc import Sequence
from typing import Any, Literal
from uuid import UUID

import numpy as np

from bandit.domain.preference import Tradeoff
from bandit.domain.price import Price
from bandit.evaluation.peers.packages import imported
from bandit.evaluation.peers.scalar import ScalarView
from bandit.evaluation.replay import Arrival, Ask, Choice
from bandit.kernels.jit import Array

SAMPLES = 100
_UNKNOWN = float("nan")


class MabWiserRouter:
    """
    Implements `ReplayRouter` with MABWiser's `LinUCB` or `LinTS`.

    Its defaults: exploration alpha 1, ridge 1, contexts unscaled.  It gets the contexts of the
    policy and, as reward, the utility under the request's trade-off; where trade-offs vary, their
    weights are further features.  An outcome lacking a part of its utility teaches it nothing.
    It has no budget and knows no prices; an arm that comes back starts anew.  It predicts utility
    alone, so that quality, cost and latency are NaN in its choices.

    It must be fitted before it predicts: a context of zeros, which leaves it at its prior.

    LinUCB is deterministic, ties included (the first arm): propensity 1.  LinTS draws, and its
    arms can share their random numbers, so that no formula for independent arms gives its
    propensity: it draws `SAMPLES` times for each request, the first draw decides, and the
    propensity is the fraction of draws that agree with it.
    """

    def __init__(
        self,
        models: Sequence[str],
        view: ScalarView,
        *,
        present: Sequence[str],
        algorithm: Literal["LinUCB", "LinTS"],
        seed: int,
    ) -> None:
        mab = imported("mabwiser.mab")
        policy = getattr(mab.LearningPolicy, algorithm)()
        self._samples = SAMPLES if algorithm == "LinTS" else 1
        self._models = tuple(models)
        self._view = view
        self._bandit: Any = mab.MAB(list(present), policy, seed=seed)
        self._bandit.fit([present[0]], [0.0], np.zeros((1, view.features)))
        self._pending: dict[UUID, tuple[Array, Tradeoff]] = {}

    def choose(self, asks: Sequence[Ask]) -> list[Choice]:
        """Predict once, or `SAMPLES` times, per request."""
        choices = []
        for ask in asks:
            context = self._view.context(ask)
            drawn = self._bandit.predict(np.tile(context, (self._samples, 1)))
            if self._samples == 1:
                drawn = [drawn]
            self._pending[ask.decision_id] = (context, ask.tradeoff)
            choices.append(
                Choice(
                    arm=self._models.index(drawn[0]),
                    propensity=drawn.count(drawn[0]) / len(drawn),
                    predicted=(_UNKNOWN, _UNKNOWN, _UNKNOWN),
                )
            )
        return choices

    def report(self, arrivals: Sequence[Arrival]) -> None:
        """Fit the utilities that are known, all at once."""
        models, rewards, contexts = [], [], []
        for arrival in arrivals:
            context, tradeoff = self._pending.pop(arrival.decision_id)
            reward = self._view.reward(arrival, tradeoff)
            model = self._models[arrival.arm]
            if reward is not None and model in self._bandit.arms:
                models.append(model)
                rewards.append(reward)
                contexts.append(context)
        if models:
            self._bandit.partial_fit(models, rewards, np.array(contexts))

    def set_price(self, model: str, price: Price) -> None:
        """Nothing: it learns what things cost from its rewards."""

    def add_arm(self, model: str, price: Price | None) -> None:
        """Add the arm at its prior."""
        self._bandit.add_arm(model)

    def remove_arm(self, model: str) -> None:
        """Remove the arm; it forgets it."""
        self._bandit.remove_arm(model)

    def begin_measuring(self) -> None:
        """Nothing: it keeps no account."""
