"""ParetoBandit (arXiv 2604.00136) under replay, from its own package."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from bandit.domain.errors import InvalidInput
from bandit.domain.policy import CostForm
from bandit.domain.preference import Preference, Tradeoff
from bandit.domain.price import Price
from bandit.evaluation.peers.packages import imported
from bandit.evaluation.replay import Arrival, Ask, Choice
from bandit.evaluation.table import OutcomeTable
from bandit.kernels.jit import Array
from bandit.policies.utility import Normaliser

MINILM_LENGTH = 384
LEAST_QUALITY_WEIGHT = 1e-6  # a request for cost alone still has a finite penalty
_UNKNOWN = float("nan")


class ParetoBanditRouter:
    """
    Implements `ReplayRouter` with `pareto_bandit.BanditRouter`, as its own demonstration uses it.

    Features: with vectors of 384 numbers, taken for all-MiniLM-L6-v2, its own: its PCA to 25
    whitened components and a bias.  Otherwise the contexts of the policy.

    Start: warm, from the priors in its package, with its tuned settings for them (alpha .01,
    forgetting .997, prior strength 1163.9), where it has its own features and begins with models
    that the priors know.  Otherwise cold, with its tuned settings for that (alpha .05,
    forgetting .997).  An arm added later starts as it registers models at run time, cold.

    Budget: its pacer with all its defaults (adaptive: price of budget and ceiling; rate .05, mean
    over .05, price at most 5), told the realised cost, with the reward, of each decision.  Where
    no reward arrives it is told nothing, as its interface has no other call.  It keeps no account
    of dollars, only its running price, which stays when measuring begins as it does in its
    demonstration.

    Preference: its static penalty, which multiplies ln of the list price on a scale of its own.
    A request's w_c / w_q is brought to that scale, so that a factor in price weighs what it
    weighs in the policy's utility.  It has no latency, and no willingness to pay.

    Prices: the mean of input and output price, per arm and not per request; fees are not seen.
    A model without a price has those that it falls back to itself, 10 and 30 USD per million.

    It is deterministic: propensity 1, except where arms never chosen tie in a cold start without
    any price of money.  The cost that it predicts is its own estimate, list price at 600 tokens
    of output; latency is NaN.
    """

    def __init__(
        self,
        table: OutcomeTable,
        contexts: NDArray[np.float32],
        prices: Mapping[str, Price],
        normaliser: Normaliser,
        *,
        present: Sequence[str],
        budget_usd: float | None,
        vectors: Array | None,
        seed: int,
    ) -> None:
        package = imported("pareto_bandit.router")
        settings = imported("pareto_bandit.config")
        # Its warnings are about the portfolio that we chose; a replay's output is its numbers.
        logging.getLogger("pareto_bandit").setLevel(logging.ERROR)
        self._table = table
        self._position = {model: arm for arm, model in enumerate(table.models)}
        is_warm = False
        if vectors is not None and vectors.shape[1] == MINILM_LENGTH:
            self._features = _own_features(vectors)
            is_warm = set(present) <= set(settings.K3_ARM_ORDER)
        else:
            self._features = contexts.astype(np.float64)
        tuned = settings.BEST_K3_HPARAMS if is_warm else settings.BEST_K3_TABULA_RASA_HPARAMS
        config = imported("pareto_bandit.types").RouterConfig()
        self._fallback = Price(
            config.default_missing_cost_per_m,
            config.default_missing_cost_per_m * package._OUTPUT_COST_MULTIPLIER,
        )
        self._penalty_scale = (
            config.cost_range_log / normaliser.cost_span
            if normaliser.cost_form is CostForm.LOG
            else 1.0
        )
        service = imported("pareto_bandit.feature_service").FeatureService
        self._router: Any = package.BanditRouter.create(
            {model: self._costs(prices.get(model)) for model in present},
            feature_service=service.for_precomputed(self._features.shape[1]),
            priors="warmup" if is_warm else "none",
            prior_n_effective=tuned["prior_n_effective"],
            alpha=tuned["alpha"],
            forgetting_factor=tuned["forgetting_factor"],
            cost_penalty=0.0,
            budget_pacer=None
            if budget_usd is None
            else imported("pareto_bandit.budget_pacer").BudgetPacer(budget_usd),
            bandit_seed=seed,
            config=config,
        )
        self._never_chosen = set() if is_warm else set(present)
        self._logs: dict[UUID, Any] = {}

    def choose(self, asks: Sequence[Ask]) -> list[Choice]:
        """Route one request after the other."""
        choices = []
        for ask in asks:
            context = self._features[ask.row]
            self._router.cost_penalty = self._penalty(ask.tradeoff)
            ties = self._ties()
            model, log = self._router.route(
                context, input_tokens=int(self._table.request_tokens[ask.row])
            )
            self._logs[ask.decision_id] = log
            quality = self._router.bandit.get_expected_reward(model, context)
            choices.append(
                Choice(
                    arm=self._position[model],
                    propensity=1.0 / ties if model in self._never_chosen else 1.0,
                    predicted=(quality, log.cost_usd, _UNKNOWN),
                )
            )
            self._never_chosen.discard(model)
        return choices

    def report(self, arrivals: Sequence[Arrival]) -> None:
        """Give each reward with the realised cost, as its demonstration does."""
        for arrival in arrivals:
            log = self._logs.pop(arrival.decision_id)
            if arrival.quality is None:
                continue
            log.cost_usd = arrival.cost_usd
            self._router.process_feedback(log.request_id, reward=arrival.quality)

    def set_price(self, model: str, price: Price) -> None:
        """Tell it the new list price."""
        self._router.update_model_pricing(model, **self._costs(price))

    def add_arm(self, model: str, price: Price | None) -> None:
        """Register the model at run time."""
        self._router.register_model(model, **self._costs(price))

    def remove_arm(self, model: str) -> None:
        """Take the model out of its registry and its policy."""
        del self._router.registry[model]
        self._router.bandit.delete_arm(model)
        self._never_chosen.discard(model)

    def begin_measuring(self) -> None:
        """Nothing: its pacer has a running price but no account."""

    def _penalty(self, tradeoff: Tradeoff) -> float:
        if not isinstance(tradeoff, Preference):
            raise InvalidInput("preference", "a willingness to pay is unknown to ParetoBandit")
        ratio = tradeoff.cost / max(tradeoff.quality, LEAST_QUALITY_WEIGHT)
        return ratio * self._penalty_scale

    def _ties(self) -> int:
        pacer = self._router.budget_pacer
        has_price = self._router.cost_penalty > 0 or (pacer is not None and pacer.lambda_t > 0)
        return 1 if has_price else max(1, len(self._never_chosen))

    def _costs(self, price: Price | None) -> dict[str, float]:
        known = price or self._fallback
        return {
            "input_cost_per_m": known.input_usd_per_million,
            "output_cost_per_m": known.output_usd_per_million,
        }


def _own_features(vectors: Array) -> Array:
    """(queries, 26): its PCA of each vector brought to unit norm, whitened, and a bias."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    service = imported("pareto_bandit.feature_service").FeatureService(
        custom_encoder=lambda row: unit[int(row)],
        embedding_dim=MINILM_LENGTH,
        pca_path=imported("pareto_bandit.config").DEFAULT_PCA_PATH,
    )
    with warnings.catch_warnings():
        # The PCA was pickled by another version of scikit-learn.
        warnings.simplefilter("ignore")
        features: Array = service.extract_features_batch([str(row) for row in range(len(unit))])
    return features
