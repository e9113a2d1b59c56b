"""One policy and what was learned for it, frozen and packed for scoring."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from bandit.domain.arm import Arm
from bandit.domain.errors import CorruptPosterior
from bandit.domain.objective import HEADS, Objective
from bandit.domain.offline_prior import OfflinePrior
from bandit.domain.policy import Policy
from bandit.domain.price import Price
from bandit.features.schema import FeatureSchema, schema_of
from bandit.kernels.jit import Array
from bandit.learning.decay import as_of as decayed
from bandit.learning.offline import of_schema, with_offline
from bandit.learning.posterior import Posterior, posterior_from
from bandit.learning.prior import Prior, prior_of
from bandit.learning.sums import Sums, no_outcomes
from bandit.policies.policy import ChoicePolicy, policy_of
from bandit.policies.utility import Normaliser, normaliser_of
from bandit.routing.ports import Cell, StoredSums


@dataclass(frozen=True, slots=True, eq=False)
class LearnedCell:
    """
    What is served of one (arm, head).

    version       of the stored sums that were last looked at
    observations  outcomes folded in, undecayed
    fault         why the stored sums are not what is served; empty when they are
    is_priced     which prior the posterior was made with
    alarms        how often a change was found
    alarmed_at    the last alarm's moment; None: there was none
    """

    posterior: Posterior
    version: int = 0
    observations: int = 0
    fault: str = ""
    is_priced: bool = True
    alarms: int = 0
    alarmed_at: datetime | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """
    Everything a decision is made from, besides the query.

    arms         the arms that are not retired; axis 0 of every array
    prices       in force at `as_of`
    means        (arms, heads, features)
    covariances  (arms, heads, features (features + 1) / 2)   packed lower triangles
    noise        (arms, heads)
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
    means: Array
    covariances: Array
    noise: Array

    @property
    def unpriced_usd(self) -> float:
        """What stands in for the list price of an arm without one."""
        return self.policy.settings.unpriced_list_usd or self.normaliser.middle_usd

    def list_usd(self, input_tokens: float) -> Array:
        """(arms,) list price of a query; a fixed one stands in for an arm without a price."""
        unpriced = self.unpriced_usd
        return np.array(
            [unpriced if price is None else price.list_usd(input_tokens) for price in self.prices]
        )


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

    A cell that cannot be used keeps its last good posterior, else the prior, and says why.
    """
    schema = schema_of(policy.settings.context)
    arms = policy.present_arms
    prices = tuple(arm.price_at(now) for arm in arms)
    known = previous.cells if previous is not None and previous.schema.id == schema.id else {}
    cells: dict[Cell, LearnedCell] = {}
    for arm, price in zip(arms, prices, strict=True):
        for head in HEADS:
            cell = (arm.id, head)
            cells[cell] = _learned(
                changed.get(cell),
                known.get(cell),
                policy,
                schema,
                arm,
                head,
                price is not None,
                now,
            )
    means, covariances, noise = _packed(arms, cells, schema, previous)
    return Snapshot(
        policy=policy,
        schema=schema,
        choice=policy_of(policy.settings),
        normaliser=normaliser_of(policy.settings, arms, now),
        learned_version=learned_version,
        as_of=now,
        arms=arms,
        prices=prices,
        cells=cells,
        means=means,
        covariances=covariances,
        noise=noise,
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
        return known
    prior = prior_of(schema, head, is_priced=is_priced)
    offline = of_schema(arm.offline.get(head), schema)
    version, observations, fault = 0, 0, ""
    alarms, alarmed_at = 0, None
    if stored is not None:
        version, observations, fault = stored.version, stored.observations, stored.fault
        alarms, alarmed_at = stored.alarms, stored.alarmed_at
        if stored.sums is not None:
            half_life_hours = policy.settings.half_life_hours.get(head)
            try:
                current = decayed(stored.sums, now, half_life_hours=half_life_hours)
                posterior = _posterior(current, prior, offline)
                return LearnedCell(
                    posterior, version, observations, "", is_priced, alarms, alarmed_at
                )
            except CorruptPosterior as error:
                fault = str(error)
    if known is not None:
        return LearnedCell(
            known.posterior, version, observations, fault, known.is_priced, alarms, alarmed_at
        )
    empty = no_outcomes(schema.features, epoch=now)
    try:
        posterior = _posterior(empty, prior, offline)
    except CorruptPosterior as error:
        posterior, fault = posterior_from(empty, prior), fault or str(error)
    return LearnedCell(posterior, version, observations, fault, is_priced, alarms, alarmed_at)


def _posterior(sums: Sums, prior: Prior, offline: OfflinePrior | None) -> Posterior:
    """Of the arm's own outcomes beside those recorded elsewhere; its weight tells its own alone."""
    made = posterior_from(with_offline(sums, offline), prior)
    return replace(made, weight=sums.weight)


def _packed(
    arms: tuple[Arm, ...],
    cells: Mapping[Cell, LearnedCell],
    schema: FeatureSchema,
    previous: Snapshot | None,
) -> tuple[Array, Array, Array]:
    features = schema.features
    shape = (len(arms), len(HEADS))
    same_layout = (
        previous is not None
        and previous.schema.id == schema.id
        and [arm.id for arm in previous.arms] == [arm.id for arm in arms]
    )
    if previous is not None and same_layout:
        means, covariances = previous.means.copy(), previous.covariances.copy()
        noise = previous.noise.copy()
    else:
        means = np.empty((*shape, features))
        covariances = np.empty((*shape, features * (features + 1) // 2))
        noise = np.empty(shape)
    for position, arm in enumerate(arms):
        for head in HEADS:
            cell = (arm.id, head)
            learned = cells[cell]
            if previous is not None and same_layout and previous.cells[cell] is learned:
                continue
            means[position, head] = learned.posterior.mean
            covariances[position, head] = learned.posterior.covariance
            noise[position, head] = learned.posterior.noise
    for array in (means, covariances, noise):
        array.setflags(write=False)
    return means, covariances, noise
