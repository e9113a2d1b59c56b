"""One policy and what was learned for it, frozen and packed for scoring."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from bandit.domain.arm import Arm
from bandit.domain.arm import arm_bits as arm_bits_of
from bandit.domain.errors import CorruptPosterior
from bandit.domain.objective import HEADS, Objective
from bandit.domain.offline_prior import OfflinePrior
from bandit.domain.policy import Policy
from bandit.domain.price import EXPECTED_OUTPUT_TOKENS, LEAST_USD, Price
from bandit.features.schema import FeatureSchema, schema_of
from bandit.kernels.jit import Array
from bandit.learning.alarms import Alarm
from bandit.learning.decay import Forgetting
from bandit.learning.decay import as_of as decayed
from bandit.learning.offline import of_schema, with_offline
from bandit.learning.posterior import Posterior, posterior_from
from bandit.learning.prior import Prior, prior_of
from bandit.learning.stacking import (
    STACKED,
    Alternative,
    context_weight,
    stacked,
    with_alternative,
)
from bandit.learning.sums import Sums, no_outcomes
from bandit.policies.eligibility import Filters, filters_of
from bandit.policies.policy import ChoicePolicy, policy_of
from bandit.policies.utility import Normaliser, normaliser_of
from bandit.routing.ports import Cell, StoredSums


@dataclass(frozen=True, slots=True, eq=False)
class LearnedCell:
    """
    What is served of one (arm, head).

    alternative   the same without contexts, where the head stacks the two
    version       of the stored sums that were last looked at
    observations  outcomes folded in, undecayed
    fault         why the stored sums are not what is served; empty when they are
    is_priced     which prior the posterior was made with
    alarms        of the changes that were found
    sums          what the posterior was made from, where it is to be made anew as time goes by
    """

    posterior: Posterior
    alternative: Alternative | None = None
    version: int = 0
    observations: int = 0
    fault: str = ""
    is_priced: bool = True
    alarms: tuple[Alarm, ...] = ()
    sums: Sums | None = None

    @property
    def ages(self) -> bool:
        """Whether what is served of it changes while nothing is learned."""
        return self.sums is not None


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """
    Everything a decision is made from, besides the query.

    arms             the arms that are not retired; axis 0 of every array
    prices           in force at `as_of`
    context_weights  of the stacked heads: how far context is trusted, 0 to 1
    means            (arms, heads, features)
    covariances      (arms, heads, features (features + 1) / 2)   packed lower triangles
    noise            (arms, heads)
    filters          what the arms and the policy's rules remove
    arm_bits         (arms, 2)  the arms' ids as `CANDIDATE` keeps them
    rates            (arms, 2)  list price as a line: USD per input token, USD besides
    """

    policy: Policy
    schema: FeatureSchema
    choice: ChoicePolicy
    normaliser: Normaliser
    learned_version: int
    as_of: datetime
    arms: tuple[Arm, ...]
    prices: tuple[Price | None, ...]
    cells: Mapping[Cell, LearnedCell]
    context_weights: Mapping[Objective, float]
    means: Array
    covariances: Array
    noise: Array
    filters: Filters
    arm_bits: NDArray[np.uint64]
    rates: Array

    @property
    def unpriced_usd(self) -> float:
        """What stands in for the list price of an arm without one."""
        return _unpriced_usd(self.policy, self.normaliser)

    def list_usd(self, input_tokens: float | Array) -> Array:
        """
        (arms,) list price of a query; a fixed one stands in for an arm without a price.

        input_tokens  of one query, or (queries, 1): then (queries, arms)
        """
        listed: Array = np.maximum(self.rates[:, 0] * input_tokens + self.rates[:, 1], LEAST_USD)
        return listed


def snapshot_of(
    policy: Policy,
    *,
    learned_version: int,
    changed: Mapping[Cell, StoredSums],
    previous: Snapshot | None,
    now: datetime,
) -> Snapshot:
    """
    The successor of `previous` with the cells that changed.

    A cell that cannot be used keeps its last good posterior, else the prior, and says why.  One
    that forgets is brought to the age of `now`, whether it changed or not.
    """
    schema = schema_of(policy.settings.context)
    arms = policy.present_arms
    prices = tuple(arm.price_at(now) for arm in arms)
    same_schema = previous is not None and previous.schema.id == schema.id
    known = previous.cells if previous is not None and same_schema else {}
    like = previous if same_schema and previous is not None and _same(previous.arms, arms) else None
    cells = {} if like is None else dict(like.cells)
    renewed = {*changed, *(cell for cell, learned in cells.items() if learned.ages)}
    touched = {arm_id for arm_id, _ in renewed}
    fresh: list[tuple[int, Objective]] = []
    for position, (arm, price) in enumerate(zip(arms, prices, strict=True)):
        is_priced = price is not None
        stays = like is not None and (like.prices[position] is not None) == is_priced
        if stays and arm.id not in touched:
            continue
        for head in HEADS:
            cell = (arm.id, head)
            if stays and cell not in renewed:
                continue
            cells[cell] = _learned(
                changed.get(cell), known.get(cell), policy, schema, arm, head, is_priced, now
            )
            fresh.append((position, head))
    means, covariances, noise = _arrays(arms, schema, like)
    for position, head in fresh:
        if head not in STACKED:
            posterior = cells[arms[position].id, head].posterior
            means[position, head] = posterior.mean
            covariances[position, head] = posterior.covariance
            noise[position, head] = posterior.noise
    weights = {}
    for head in STACKED:
        learned = [cells[arm.id, head] for arm in arms]
        alternatives = [each.alternative for each in learned if each.alternative is not None]
        weights[head] = context_weight(alternatives)
        if arms:
            means[:, head], covariances[:, head, -1], noise[:, head] = stacked(
                [each.posterior for each in learned], alternatives, weights[head]
            )
    for array in (means, covariances, noise):
        array.setflags(write=False)
    if like is not None and like.policy is policy and like.prices == prices:
        return replace(
            like,
            learned_version=learned_version,
            as_of=now,
            cells=cells,
            context_weights=weights,
            means=means,
            covariances=covariances,
            noise=noise,
        )
    normaliser = normaliser_of(policy.settings, arms, now)
    arm_bits = np.array([arm_bits_of(arm.id) for arm in arms], dtype=np.uint64).reshape(-1, 2)
    rates = _rates(prices, _unpriced_usd(policy, normaliser))
    for constant in (arm_bits, rates):
        constant.setflags(write=False)
    return Snapshot(
        policy=policy,
        schema=schema,
        choice=policy_of(policy.settings),
        normaliser=normaliser,
        learned_version=learned_version,
        as_of=now,
        arms=arms,
        prices=prices,
        cells=cells,
        context_weights=weights,
        means=means,
        covariances=covariances,
        noise=noise,
        filters=filters_of(arms, policy.settings.rules),
        arm_bits=arm_bits,
        rates=rates,
    )


def _learned(
    stored: StoredSums | None,
    known: LearnedCell | None,
    policy: Policy,
    schema: FeatureSchema,
    arm: Arm,
    head: Objective,
    is_priced: bool,
    now: datetime,
) -> LearnedCell:
    if stored is None and known is not None and known.is_priced == is_priced:
        if not known.ages:
            return known
        stored = StoredSums(
            known.version, known.observations, known.sums, known.fault, known.alarms
        )
    prior = prior_of(schema, head, is_priced=is_priced)
    offline = of_schema(arm.offline.get(head), schema)
    version, observations, fault = 0, 0, ""
    alarms: tuple[Alarm, ...] = ()
    sums: Sums | None = None
    believed: tuple[Posterior, Alternative | None] | None = None
    if stored is not None:
        version, observations, fault = stored.version, stored.observations, stored.fault
        alarms = stored.alarms
        if stored.sums is not None:
            forgetting = Forgetting(policy.settings.half_life_hours.get(head), alarms)
            try:
                believed = _believed(head, decayed(stored.sums, now, forgetting), prior, offline)
            except CorruptPosterior as error:
                fault = str(error)
            else:
                sums = stored.sums if forgetting.goes_on else None
    if believed is None and known is not None:
        believed, is_priced = (known.posterior, known.alternative), known.is_priced
    if believed is None:
        empty = no_outcomes(schema.features, epoch=now)
        try:
            believed = _believed(head, empty, prior, offline)
        except CorruptPosterior as error:
            believed, fault = _believed(head, empty, prior, None), fault or str(error)
    return LearnedCell(*believed, version, observations, fault, is_priced, alarms, sums)


def _believed(
    head: Objective, sums: Sums, prior: Prior, offline: OfflinePrior | None
) -> tuple[Posterior, Alternative | None]:
    """Of the arm's own outcomes beside those recorded elsewhere; the weight tells its own alone."""
    together = with_offline(sums, offline)
    alternative = None
    if head in STACKED:
        posterior, alternative = with_alternative(together, prior)
    else:
        posterior = posterior_from(together, prior)
    if together is not sums:
        posterior = replace(posterior, weight=sums.weight)
    return posterior, alternative


def _unpriced_usd(policy: Policy, normaliser: Normaliser) -> float:
    return policy.settings.unpriced_list_usd or normaliser.middle_usd


def _rates(prices: Sequence[Price | None], unpriced_usd: float) -> Array:
    rates = np.empty((len(prices), 2))
    for position, price in enumerate(prices):
        if price is None:
            rates[position] = 0.0, unpriced_usd
        else:
            besides_usd = price.usd(0, EXPECTED_OUTPUT_TOKENS)
            rates[position] = price.input_usd_per_million / 1e6, besides_usd
    return rates


def _same(before: tuple[Arm, ...], after: tuple[Arm, ...]) -> bool:
    """Whether they are the same arms in the same order, whatever became of their settings."""
    return before is after or [arm.id for arm in before] == [arm.id for arm in after]


def _arrays(
    arms: tuple[Arm, ...], schema: FeatureSchema, like: Snapshot | None
) -> tuple[Array, Array, Array]:
    """Means, covariances and noise to be written to; copies of those of `like`, if any."""
    if like is not None:
        return like.means.copy(), like.covariances.copy(), like.noise.copy()
    shape, features = (len(arms), len(HEADS)), schema.features
    return (
        np.zeros((*shape, features)),
        np.zeros((*shape, features * (features + 1) // 2)),
        np.zeros(shape),
    )
