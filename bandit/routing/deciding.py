"""From a snapshot and a query to a decision: pure, and the same in production and in replay."""

from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from bandit.domain.decision import CANDIDATE, Candidates, Decision, DecisionId, arm_bits
from bandit.domain.errors import InvalidInput, NoEligibleArm
from bandit.domain.preference import Preference
from bandit.domain.query import Query
from bandit.features.schema import check
from bandit.kernels.jit import Array
from bandit.kernels.propensity import draw
from bandit.kernels.scoring import score, score_batch
from bandit.policies.draw import uniform_of
from bandit.policies.eligibility import Removal, check_constraints, removals
from bandit.policies.estimates import Estimates, estimates_from
from bandit.policies.utility import utilities
from bandit.routing.snapshot import Snapshot

LARGEST_DEFECT = 1e-9


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


def decide(
    snapshot: Snapshot,
    query: Query,
    context: NDArray[np.float32],
    *,
    decision_id: DecisionId,
    at: datetime,
) -> Decision:
    """
    Choose an arm for a query that passed `validate`; its propensity is computed before the draw.

    context  (features,) of the snapshot's schema
    Raises NoEligibleArm with the filter that removed each.
    """
    scores = score(snapshot.means, snapshot.covariances, context.astype(np.float64))
    return decide_scored(snapshot, query, context, scores, decision_id=decision_id, at=at)


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
) -> Decision:
    """`decide`, where the context's scores (arms, heads, 2) are known already."""
    settings = snapshot.policy.settings
    tradeoff = query.tradeoff or settings.default_preference
    input_tokens = query.expected_input_tokens
    list_usd = snapshot.list_usd(input_tokens)
    estimates = estimates_from(
        scores, snapshot.noise, list_usd, quality_prior_mean=settings.quality_prior_mean
    )
    removed = removals(snapshot.arms, query, estimates)
    eligible = np.flatnonzero(removed == Removal.NONE)
    if eligible.size == 0:
        raise NoEligibleArm(
            {
                arm.name: Removal(int(code)).label
                for arm, code in zip(snapshot.arms, removed, strict=True)
            }
        )
    mean, variance = utilities(estimates, tradeoff, snapshot.normaliser)
    propensities = np.zeros(len(snapshot.arms))
    propensities[eligible] = snapshot.choice.propensities(mean[eligible], variance[eligible])
    if not abs(propensities.sum() - 1) <= LARGEST_DEFECT:
        raise ArithmeticError("the propensities do not sum to 1")
    chosen = draw(propensities, uniform_of(snapshot.policy.key, decision_id))
    return Decision(
        id=decision_id,
        policy_id=snapshot.policy.id,
        at=at,
        arm_id=snapshot.arms[chosen].id,
        propensity=float(propensities[chosen]),
        context=context,
        schema_id=snapshot.schema.id,
        fingerprint=query.fingerprint,
        tradeoff=tradeoff,
        input_tokens=input_tokens,
        list_usd=float(list_usd[chosen]),
        price=snapshot.prices[chosen],
        policy_version=snapshot.policy.version,
        snapshot_version=snapshot.learned_version,
        candidates=_ranked(snapshot, estimates, mean, removed, propensities),
        labels=query.labels,
    )


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
