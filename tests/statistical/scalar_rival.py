"""
A rival to separate heads: one Thompson bandit whose reward is the utility itself.

The preference is a feature of its context, the prices and the optimism about quality are in its
prior, and its posteriors, propensities and draws are those of the product.
"""

import numpy as np

from bandit.evaluation.replay import Choice
from bandit.evaluation.stream import key_of
from bandit.kernels.propensity import draw, thompson
from bandit.kernels.scoring import score
from bandit.learning.posterior import posterior_from
from bandit.learning.prior import Prior
from bandit.learning.sums import Evidence, folded, no_outcomes
from bandit.policies.draw import uniform_of
from bandit.policies.utility import utility_of

EMBEDDING, CUES = 24, 8


class ScalarRewardRouter:
    """Implements `ReplayRouter` for preferences of quality and cost."""

    def __init__(self, table, contexts, settings, prices, normaliser, *, seed, now):
        features = contexts.shape[1] + 1
        # Embedding, cues, weight of cost, bias: as the product's quality head, and the weight free.
        precision = np.array([1000.0] * EMBEDDING + [100.0] * CUES + [1.0, 5.0])
        self.prior = Prior(precision=precision, noise_deviation=0.3, shape=10.0)
        self.table, self.contexts, self.normaliser = table, contexts, normaliser
        self.settings, self.key = settings, key_of(seed)
        tokens = table.request_tokens
        self.list_usd = np.array([[prices[m].list_usd(t) for m in table.models] for t in tokens])
        self.sums = [no_outcomes(features, epoch=now) for _ in table.models]
        self.posteriors = [posterior_from(sums, self.prior) for sums in self.sums]
        self.asked = {}

    def choose(self, asks):
        choices = []
        for ask in asks:
            self.asked[ask.decision_id] = ask
            means = np.array([[posterior.mean] for posterior in self.posteriors])
            spreads = np.array([[posterior.covariance] for posterior in self.posteriors])
            scores = score(means, spreads, self._context(ask))[:, 0]
            utility = self._expected(ask) + scores[:, 0]
            propensities = thompson(utility, self.settings.temperature * np.sqrt(scores[:, 1]))
            arm = draw(propensities, uniform_of(self.key, ask.decision_id))
            choices.append(Choice(arm, float(propensities[arm]), (0.0, 0.0, 0.0)))
        return choices

    def report(self, arrivals):
        for arrival in arrivals:
            ask, arm = self.asked[arrival.decision_id], arrival.arm
            gained = utility_of(
                np.array(arrival.quality),
                np.array(arrival.cost_usd),
                np.array(1.0),
                ask.tradeoff,
                self.normaliser,
            )
            target = float(gained) - self._expected(ask)[arm]
            evidence = Evidence(0, self._context(ask), target, 1.0)
            (self.sums[arm],) = folded([self.sums[arm]], [evidence])
            self.posteriors[arm] = posterior_from(self.sums[arm], self.prior)

    def begin_measuring(self):
        """It keeps no account."""

    def _context(self, ask):
        context = self.contexts[ask.row].astype(np.float64)
        return np.concatenate([context[:-1], [ask.tradeoff.cost, 1.0]])

    def _expected(self, ask):
        """The utility before any outcome: quality as the product's prior has it, list prices."""
        quality = np.full(len(self.table.models), self.settings.quality_prior_mean)
        cost = self.list_usd[ask.row]
        return utility_of(quality, cost, np.ones_like(cost), ask.tradeoff, self.normaliser)
