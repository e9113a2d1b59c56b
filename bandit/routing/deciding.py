"""From a snapshot and a query to a decision: pure, and the same in production and in replay."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from bandit.domain.arm import ArmStatus
from bandit.domain.budget import Charge
from bandit.domain.decision import CANDIDATE, Candidates, Decision, DecisionId, arm_bits
from bandit.domain.errors import BudgetExhausted, InvalidInput, NoEligibleArm
from bandit.domain.policy import Policy
from bandit.domain.preference import Preference, Tradeoff
from bandit.domain.query import Query
from bandit.domain.reward_window import deadlines_of
from bandit.features.schema import check
from bandit.kernels.jit import Array
from bandit.kernels.propensity import draw
from bandit.kernels.scoring import score, score_batch
from bandit.policies.draw import normals_of, uniform_of
from bandit.policies.eligibility import Removal, check_constraints, removals
from bandit.policies.estimates import Estimates, estimates_from, with_added_cost
from bandit.policies.exploration import with_floor
from bandit.policies.pacing import Considered
from bandit.policies.spending import NO_TERMS, Terms, reservations, with_terms
from bandit.policies.utility import utilities
from bandit.routing.snapshot import Snapshot

LARGEST_DEFECT = 1e-9
QUALITY_ALONE = Preference(quality=1.0)


def validate(snapshot: Snapshot, query: Query) -> None:
    """Refuse a query that this policy cannot answer, naming the field."""
    check(snapshot.schema, query)
    check_constraints(query, snapshot.policy.arms, snapshot.policy.settings.objectives)
    if query.tradeoff is not None:
        missing = query.tradeoff.needs() - set(snapshot.policy.settings.objectives)
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
    scores = score(snapshot.means, snapshot.covariances, context.astype(np.float64))
    return decide_scored(
        snapshot, query, context, scores, decision_id=decision_id, at=at, terms=terms
    )


def scores_of(snapshot: Snapshot, contexts: NDArray[np.float32]) -> Array:
    """(queries, arms, heads, 2): mean and variance of every head for many contexts at once."""
    return score_batch(snapshot.means, snapshot.covariances, contexts.astype(np.float64))


def decide_scored(
    snapshot: Snapshot,
    query: Query,
    context: NDArray[np.float32],
    scores: Array,
    *,
    decision_id: DecisionId,
    at: datetime,
    terms: Terms = NO_TERMS,
) -> Decided:
    """`decide`, where the context's scores (arms, heads, 2) are known already."""
    policy, arms = snapshot.policy, snapshot.arms
    tradeoff = tradeoff_of(query, policy)
    input_tokens = query.expected_input_tokens
    list_usd = snapshot.list_usd(input_tokens)
    estimates = estimates_from(
        scores, snapshot.noise, list_usd, quality_prior_mean=policy.settings.quality_prior_mean
    )
    charged = _charged(snapshot, query, estimates)
    removed = removals(arms, query, charged, rules=policy.settings.rules)
    reserved_usd, lacking_usd = None, 0.0
    if terms is not NO_TERMS:
        reserved_usd = reservations(query, snapshot.prices, estimates)
        removed, lacking_usd = with_terms(removed, arms, estimates, reserved_usd, terms)
    eligible = np.flatnonzero(removed == Removal.NONE)
    if eligible.size == 0:
        raise _nothing_left(snapshot, removed, lacking_usd)
    mean, variance = utilities(charged, tradeoff, snapshot.normaliser)
    paced = mean if terms.price == 0 else mean - terms.price * charged.cost_usd
    propensities = np.zeros(len(arms))
    propensities[eligible] = snapshot.choice.propensities(paced[eligible], variance[eligible])
    if terms.slots:
        exploring = [
            arms[position].status is ArmStatus.EXPLORE and arms[position].id in terms.slots
            for position in eligible
        ]
        propensities[eligible] = with_floor(propensities[eligible], np.array(exploring))
    if not abs(propensities.sum() - 1) <= LARGEST_DEFECT:
        raise ArithmeticError("the propensities do not sum to 1")
    chosen = draw(propensities, uniform_of(policy.key, decision_id))
    decision = Decision(
        id=decision_id,
        policy_id=policy.id,
        at=at,
        arm_id=arms[chosen].id,
        propensity=float(propensities[chosen]),
        context=context,
        schema_id=snapshot.schema.id,
        fingerprint=query.fingerprint,
        tradeoff=tradeoff,
        input_tokens=input_tokens,
        list_usd=float(list_usd[chosen]),
        price=snapshot.prices[chosen],
        policy_version=policy.version,
        snapshot_version=snapshot.learned_version,
        candidates=_ranked(snapshot, estimates, paced, removed, propensities),
        labels=query.labels,
        charge=_charge(terms, charged, reserved_usd, chosen),
        deadlines=deadlines_of(policy.settings.reward_windows, at),
        is_deferred=query.defer_activation,
    )
    considered = None
    if terms.budget is not None and terms.budget.is_paced:
        considered = _considered(
            snapshot, decision_id, removed, mean, variance, charged, list_usd, input_tokens
        )
    return Decided(decision, considered, lacking_usd)


def _nothing_left(
    snapshot: Snapshot, removed: NDArray[np.int32], lacking_usd: float
) -> NoEligibleArm | BudgetExhausted:
    by_name = {
        arm.name: Removal(int(code)).label for arm, code in zip(snapshot.arms, removed, strict=True)
    }
    return BudgetExhausted(by_name, lacking_usd) if lacking_usd > 0 else NoEligibleArm(by_name)


def _charge(
    terms: Terms, estimates: Estimates, reserved_usd: Array | None, chosen: int
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
        expected_usd=float(estimates.cost_usd[chosen]),
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


def _charged(snapshot: Snapshot, query: Query, estimates: Estimates) -> Estimates:
    """The estimates by which arms are judged: the cost with what turning to the arm costs."""
    if not query.switch_cost_usd:
        return estimates
    added_usd = [query.switch_cost_usd.get(arm.name, 0.0) for arm in snapshot.arms]
    return with_added_cost(estimates, np.array(added_usd))


def _ranked(
    snapshot: Snapshot,
    estimates: Estimates,
    utility: Array,
    removed: NDArray[np.int32],
    propensities: Array,
) -> Candidates:
    """The eligible arms by falling utility, then the removed ones; NaN where nothing is learned."""
    order = np.lexsort((-utility, removed != Removal.NONE))
    candidates = np.empty(len(snapshot.arms), dtype=CANDIDATE)
    candidates["arm"] = [arm_bits(snapshot.arms[position].id) for position in order]
    candidates["removed_by"] = removed[order]
    candidates["propensity"] = propensities[order]
    candidates["utility"] = utility[order]
    candidates["mean"] = candidates["deviation"] = np.nan
    mean, deviation = estimates.mean, estimates.deviation
    for objective in snapshot.policy.settings.objectives:
        candidates["mean"][:, objective] = mean[order, objective]
        candidates["deviation"][:, objective] = deviation[order, objective]
    candidates.setflags(write=False)
    return candidates
