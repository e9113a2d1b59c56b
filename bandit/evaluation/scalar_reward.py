"""A rival to separate heads: one Thompson bandit whose reward is the utility itself."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from bandit.domain.objective import Objective
from bandit.domain.policy import PolicySettings
from bandit.domain.preference import Preference
from bandit.domain.price import Price
from bandit.evaluation.replay import Arrival, Ask, Choice
from bandit.evaluation.stream import key_of
from bandit.evaluation.table import OutcomeTable
from bandit.features.schema import schema_of
from bandit.kernels.jit import Array
from bandit.kernels.propensity import draw, thompson
from bandit.kernels.scoring import score
from bandit.learning.posterior import posterior_from
from bandit.learning.prior import Prior, prior_of
from bandit.learning.sums import Evidence, folded, no_outcomes
from bandit.policies.draw import uniform_of
from bandit.policies.utility import Normaliser, cost_range_of, utility_of

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class ScalarReward:
    """
    Implements `ReplayRouter` for preferences of quality and cost.

    The weight of cost is a feature of its context, the prices and the optimism about quality are in
    its prior, and its posteriors, propensities and draws are those of the policy.  What it learns
    under one preference it has to carry over to another by that one feature.
    Source: the usual reduction of several objectives to a scalar reward, as in ParetoBandit.
    """

    def __init__(
        self,
        table: OutcomeTable,
        contexts: NDArray[np.float32],
        settings: PolicySettings,
        prices: Mapping[str, Price],
        *,
        seed: int,
        models: Sequence[str] | None = None,
    ) -> None:
        quality = prior_of(schema_of(settings.context), Objective.QUALITY)
        precision = np.insert(quality.precision, -1, 1.0)
        self._prior = Prior(precision, quality.noise_deviation, quality.shape)
        self._contexts = contexts
        self._normaliser = Normaliser(
            settings.cost_range or cost_range_of(prices.values()),
            settings.latency_range_ms,
            settings.cost_form,
        )
        self._temperature = settings.temperature
        self._optimism = np.full(len(table.models), settings.quality_prior_mean)
        self._key = key_of(seed)
        self._models = list(table.models)
        self._tokens = table.request_tokens.tolist()
        self._is_present = np.array([models is None or name in models for name in self._models])
        self._list_usd = np.full(table.quality.shape, self._normaliser.middle_usd)
        for model, price in prices.items():
            self.set_price(model, price)
        self._sums = [no_outcomes(len(precision), epoch=_EPOCH) for _ in table.models]
        self._posteriors = [posterior_from(sums, self._prior) for sums in self._sums]
        self._covariances = [posterior.covariance for posterior in self._posteriors]
        self._asked: dict[UUID, Ask] = {}

    def choose(self, asks: Sequence[Ask]) -> list[Choice]:
        """By the probability that an arm has the highest utility; it predicts no single outcome."""
        choices = []
        for ask in asks:
            self._asked[ask.decision_id] = ask
            means = np.array([[posterior.mean] for posterior in self._posteriors])
            spreads = np.array([[covariance] for covariance in self._covariances])
            scores = score(means, spreads, self._context(ask))[:, 0]
            utility = self._expected(ask) + scores[:, 0]
            deviation = self._temperature * np.sqrt(scores[:, 1])
            present = np.flatnonzero(self._is_present)
            propensities = np.zeros(len(utility))
            propensities[present] = thompson(utility[present], deviation[present])
            arm = draw(propensities, uniform_of(self._key, ask.decision_id))
            choices.append(Choice(arm, float(propensities[arm]), (0.0, 0.0, 0.0)))
        return choices

    def report(self, arrivals: Sequence[Arrival]) -> None:
        """Learn how far the utility was from what was expected without any outcome."""
        for arrival in arrivals:
            if arrival.quality is None:
                continue
            ask, arm = self._asked[arrival.decision_id], arrival.arm
            gained = self._utility(ask, np.array(arrival.quality), np.array(arrival.cost_usd))
            target = float(gained) - float(self._expected(ask)[arm])
            evidence = Evidence(0, self._context(ask).astype(np.float32), target, 1.0)
            (self._sums[arm],) = folded([self._sums[arm]], [evidence])
            self._posteriors[arm] = posterior_from(self._sums[arm], self._prior)
            self._covariances[arm] = self._posteriors[arm].covariance

    def begin_measuring(self) -> None:
        """It keeps no account."""

    def set_price(self, model: str, price: Price) -> None:
        """What it learned of the model stays as it is: utilities, not costs."""
        self._list_usd[:, self._models.index(model)] = [price.list_usd(n) for n in self._tokens]

    def add_arm(self, model: str, price: Price | None) -> None:
        """A model that comes back finds what was learned of it."""
        if price is not None:
            self.set_price(model, price)
        self._is_present[self._models.index(model)] = True

    def remove_arm(self, model: str) -> None:
        """It is remembered and not chosen."""
        self._is_present[self._models.index(model)] = False

    def _context(self, ask: Ask) -> Array:
        assert isinstance(ask.tradeoff, Preference)  # noqa: S101 - said by the class
        context = self._contexts[ask.row].astype(np.float64)
        return np.concatenate([context[:-1], [ask.tradeoff.cost, 1.0]])

    def _expected(self, ask: Ask) -> Array:
        """(arms,) before any outcome: quality as the policy's prior has it, list prices."""
        return self._utility(ask, self._optimism, self._list_usd[ask.row])

    def _utility(self, ask: Ask, quality: Array, cost_usd: Array) -> Array:
        unmeasured = np.ones_like(cost_usd)
        return utility_of(quality, cost_usd, unmeasured, ask.tradeoff, self._normaliser)
