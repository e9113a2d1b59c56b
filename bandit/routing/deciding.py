"""From a snapshot and a query to a decision: pure, and the same in production and in replay."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from bandit.domain.arm import ArmStatus
from bandit.domain.budget import Charge
from bandit.domain.decision import CANDIDATE, Candidates, Decision, DecisionId
from bandit.domain.errors import BanditError, BudgetExhausted, InvalidInput, NoEligibleArm
from bandit.domain.objective import HEADS
from bandit.domain.policy import Policy
from bandit.domain.preference import Preference, Tradeoff
from bandit.domain.query import Query
from bandit.domain.reward_window import deadlines_of
from bandit.features.schema import check
from bandit.kernels.jit import Array
from bandit.kernels.propensity import draw_each
from bandit.kernels.scoring import score_batch
from bandit.policies.draw import normals_of, uniform_of
from bandit.policies.eligibility import Removal, check_constraints
from bandit.policies.estimates import Estimates, estimates_from, with_added_cost
from bandit.policies.exploration import with_floor
from bandit.policies.pacing import Considered
from bandit.policies.spending import NO_TERMS, Terms, reservations, with_terms
from bandit.policies.utility import utilities, weights_of
from bandit.routing.snapshot import Snapshot

LARGEST_DEFECT = 1e-9
QUALITY_ALONE = Preference(quality=1.0)


def validate(snapshot: Snapshot, query: Query) -> None:
    """Refuse a query that this policy cannot answer, naming the field."""
    check(snapshot.schema, query)
    check_constraints(query, snapshot.policy.arms, snapshot.policy.settings.objectives)
    objectives = snapshot.policy.settings.objectives
    if query.tradeoff is not None and len(objectives) < len(HEADS):
        missing = query.tradeoff.needs() - set(objectives)
        if missing:
            label = min(missing).label
            if isinstance(query.tradeoff, Preference):
                raise InvalidInput(f"preference.{label}", "is not learned by the policy")
            raise InvalidInput("willingness_to_pay_usd", f"{label} is not learned by the policy")
    profile = query.preference_profile
    if profile is not None and profile not in snapshot.policy.settings.profiles:
        raise InvalidInput("preference_profile", f"the policy has no profile {profile!r}")


def tradeoff_of(query: Query, policy: Policy) -> Tradeoff:
    """
    What a query that passed `validate` wants: its own trade-off, its profile's, or the default.

    Where spending is paced, the default is quality alone: the budget says what it may cost.
    """
    if query.preference_profile is not None:
        return policy.settings.profiles[query.preference_profile]
    if query.tradeoff is not None:
        return query.tradeoff
    is_paced = policy.budget is not None and policy.budget.is_paced
    return QUALITY_ALONE if is_paced else policy.settings.default_preference


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """
    A query that passed `validate`, under the id that its decision will have, at this moment.

    context  (features,) of the snapshot's schema
    """

    query: Query
    context: NDArray[np.float32]
    decision_id: DecisionId
    at: datetime


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """
    A decision that is not recorded yet, and what keeping the budget needs to know of it.

    considered   what was weighed; None where spending is not paced
    lacking_usd  what the lease had to bring for an arm that only it removed; 0: nothing lacks
    """

    decision: Decision
    considered: Considered | None = None
    lacking_usd: float = 0.0


def decide(
    snapshot: Snapshot,
    query: Query,
    context: NDArray[np.float32],
    *,
    decision_id: DecisionId,
    at: datetime,
    terms: Terms = NO_TERMS,
) -> Decided:
    """
    Choose an arm for a query that passed `validate`; its propensity is computed before the draw.

    context  (features,) of the snapshot's schema
    Raises NoEligibleArm with the filter that removed each, and BudgetExhausted where an arm is left
    to which only the budget's limit stands opposed.
    """
    asked = Asked(query, context, decision_id, at)
    (decided,) = decide_each(snapshot, [asked], scores_of(snapshot, [asked]), terms=terms)
    if isinstance(decided, BanditError):
        raise decided
    return decided


def scores_of(snapshot: Snapshot, asked: Sequence[Asked]) -> Array:
    """(queries, arms, heads, 2): mean and variance of every head at each context."""
    contexts = np.array([each.context for each in asked], dtype=np.float64)
    return score_batch(snapshot.means, snapshot.covariances, contexts)


def decide_each(
    snapshot: Snapshot,
    asked: Sequence[Asked],
    scores: Array,
    *,
    terms: Terms = NO_TERMS,
) -> list[Decided | NoEligibleArm | BudgetExhausted]:
    """
    `decide` for queries that are decided on the same terms, each with the result it has alone.

    scores  (queries, arms, heads, 2)  of `scores_of`
    """
    if not snapshot.arms:
        return [NoEligibleArm({}) for _ in asked]
    policy = snapshot.policy
    queries = [each.query for each in asked]
    tradeoffs = [tradeoff_of(query, policy) for query in queries]
    tokens = [query.expected_input_tokens for query in queries]
    list_usd = snapshot.list_usd(np.array(tokens, dtype=np.float64)[:, None])
    estimates = estimates_from(
        scores, snapshot.noise, list_usd, quality_prior_mean=policy.settings.quality_prior_mean
    )
    charged = _charged(snapshot, queries, estimates)
    removed = snapshot.filters.removals(queries, charged)
    reserved_usd: list[Array | None] = [None] * len(asked)
    lacking_usd = [0.0] * len(asked)
    if terms is not NO_TERMS:
        for row, query in enumerate(queries):
            alone = estimates.of(row)
            reserved = reservations(query, snapshot.prices, alone)
            removed[row], lacking_usd[row] = with_terms(
                removed[row], snapshot.arms, alone, reserved, terms
            )
            reserved_usd[row] = reserved
    weights = np.array([weights_of(tradeoff) for tradeoff in tradeoffs])
    mean, variance = utilities(charged, weights[:, None], snapshot.normaliser)
    paced = mean if terms.price == 0 else mean - terms.price * charged.cost_usd
    propensities = _propensities(snapshot, paced, variance, removed, terms)
    uniforms = np.array([uniform_of(policy.key, each.decision_id) for each in asked])
    chosen = draw_each(propensities, uniforms)
    drawn = np.arange(len(asked)), chosen
    candidates = _ranked(snapshot, estimates, paced, removed, propensities)
    is_paced = terms.budget is not None and terms.budget.is_paced
    results: list[Decided | NoEligibleArm | BudgetExhausted] = []
    rows = zip(
        asked,
        chosen.tolist(),
        propensities[drawn].tolist(),
        list_usd[drawn].tolist(),
        candidates,
        strict=True,
    )
    for row, (each, arm, propensity, arm_usd, ranked) in enumerate(rows):
        if arm < 0:
            results.append(_nothing_left(snapshot, removed[row], lacking_usd[row]))
            continue
        decision = Decision(
            id=each.decision_id,
            policy_id=policy.id,
            at=each.at,
            arm_id=snapshot.arms[arm].id,
            propensity=propensity,
            context=each.context,
            schema_id=snapshot.schema.id,
            fingerprint=each.query.fingerprint,
            tradeoff=tradeoffs[row],
            input_tokens=tokens[row],
            list_usd=arm_usd,
            price=snapshot.prices[arm],
            policy_version=policy.version,
            snapshot_version=snapshot.learned_version,
            candidates=ranked,
            labels=each.query.labels,
            charge=None
            if terms.budget is None
            else _charge(terms, charged.cost_usd[row], reserved_usd[row], arm),
            deadlines=deadlines_of(policy.settings.reward_windows, each.at),
            is_deferred=each.query.defer_activation,
        )
        considered = None
        if is_paced:
            considered = _considered(
                snapshot,
                each.decision_id,
                removed[row],
                mean[row],
                variance[row],
                charged.of(row),
                list_usd[row],
                tokens[row],
            )
        results.append(Decided(decision, considered, lacking_usd[row]))
    return results


def _propensities(
    snapshot: Snapshot,
    utility: Array,
    variance: Array,
    removed: NDArray[np.int32],
    terms: Terms,
) -> Array:
    """(queries, arms); all 0 where no arm is eligible."""
    eligible = removed == Removal.NONE
    decidable = eligible.any(axis=1)
    if not decidable.all():
        propensities = np.zeros(utility.shape)
        if decidable.any():
            propensities[decidable] = _propensities(
                snapshot, utility[decidable], variance[decidable], removed[decidable], terms
            )
        return propensities
    open_utility = np.where(eligible, utility, -np.inf)
    propensities = snapshot.choice.propensities(open_utility, variance)
    if terms.slots:
        exploring = np.array(
            [arm.status is ArmStatus.EXPLORE and arm.id in terms.slots for arm in snapshot.arms]
        )
        for row, open_arms in zip(propensities, eligible, strict=True):
            row[open_arms] = with_floor(row[open_arms], exploring[open_arms])
    if not (np.abs(propensities.sum(axis=1) - 1) <= LARGEST_DEFECT).all():
        raise ArithmeticError("the propensities do not sum to 1")
    return propensities


def _nothing_left(
    snapshot: Snapshot, removed: NDArray[np.int32], lacking_usd: float
) -> NoEligibleArm | BudgetExhausted:
    by_name = {
        arm.name: Removal(int(code)).label for arm, code in zip(snapshot.arms, removed, strict=True)
    }
    return BudgetExhausted(by_name, lacking_usd) if lacking_usd > 0 else NoEligibleArm(by_name)


def _charge(
    terms: Terms, cost_usd: Array, reserved_usd: Array | None, chosen: int
) -> Charge | None:
    """What the budget has to do with the decision; None where none is set."""
    budget = terms.budget
    if budget is None:
        return None
    reserved = None if budget.limit_usd is None or reserved_usd is None else reserved_usd[chosen]
    return Charge(
        epoch=terms.epoch,
        price=terms.price,
        balance=terms.account.balance,
        utilisation=terms.account.utilisation(budget),
        overshoot_usd=terms.account.overshoot_usd(budget),
        expected_usd=float(cost_usd[chosen]),
        reserved_usd=None if reserved is None else float(reserved),
        limit_name=None if reserved is None else terms.limit_name,
    )


def _considered(
    snapshot: Snapshot,
    decision_id: DecisionId,
    removed: NDArray[np.int32],
    mean: Array,
    variance: Array,
    estimates: Estimates,
    list_usd: Array,
    input_tokens: int,
) -> Considered:
    """
    What the decision weighed, for the price of budget to be solved from.

    The guard is left out: it depends on the price, and would hide the dear arms from it.
    """
    noise = normals_of(snapshot.policy.key, decision_id, len(mean))
    is_open = (removed == Removal.NONE) | (removed == Removal.BUDGET_GUARD)
    sampled = snapshot.choice.sampled(mean, variance, noise)
    return Considered(
        utility=np.where(is_open, sampled, -np.inf),
        quality=estimates.quality,
        cost_ratio=estimates.cost_usd / list_usd,
        input_tokens=input_tokens,
    )


def _charged(snapshot: Snapshot, queries: Sequence[Query], estimates: Estimates) -> Estimates:
    """The estimates by which arms are judged: the cost with what turning to the arm costs."""
    if not any(query.switch_cost_usd for query in queries):
        return estimates
    added_usd = [
        [query.switch_cost_usd.get(arm.name, 0.0) for arm in snapshot.arms] for query in queries
    ]
    return with_added_cost(estimates, np.array(added_usd))


def _ranked(
    snapshot: Snapshot,
    estimates: Estimates,
    utility: Array,
    removed: NDArray[np.int32],
    propensities: Array,
) -> Candidates:
    """
    (queries, arms): the eligible arms by falling utility, then the removed ones.

    NaN where nothing is learned.
    """
    order = np.lexsort((-utility, removed != Removal.NONE))
    rows = np.arange(len(order))[:, None]
    candidates = np.empty(order.shape, dtype=CANDIDATE)
    candidates["arm"] = snapshot.arm_bits[order]
    candidates["removed_by"] = removed[rows, order]
    candidates["propensity"] = propensities[rows, order]
    candidates["utility"] = utility[rows, order]
    candidates["mean"] = estimates.mean[rows, order]
    candidates["deviation"] = estimates.deviation[rows, order]
    for objective in HEADS:
        if objective not in snapshot.policy.settings.objectives:
            candidates["mean"][..., objective] = np.nan
            candidates["deviation"][..., objective] = np.nan
    candidates.setflags(write=False)
    return candidates
