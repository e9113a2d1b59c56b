"""Domain values for tests: each builder fills in what the test does not care about."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import numpy as np
from numpy.typing import NDArray

from bandit.domain.arm import Arm, ArmId, ArmStatus, arm_bits
from bandit.domain.budget import Charge
from bandit.domain.decision import CANDIDATE, EPOCH, Decision, DecisionId
from bandit.domain.objective import Objective
from bandit.domain.offline_prior import OfflinePrior
from bandit.domain.outcome import OutcomeRow
from bandit.domain.policy import ContextSettings, ContextSource, Policy, PolicyId, PolicySettings
from bandit.domain.preference import Preference, Tradeoff
from bandit.domain.price import Price, PriceVersion
from bandit.domain.reward_window import NO_DEADLINES, Deadline
from bandit.features.schema import schema_of
from bandit.learning.offline import offline_prior
from bandit.routing.ports import PolicyEvent

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
A_PRICE = Price(input_usd_per_million=1.0, output_usd_per_million=4.0)
A_CONTEXT = ContextSettings(source=ContextSource.VECTOR, vector_length=3)


def a_uuid7(at: datetime = NOW) -> UUID:
    """A fresh UUIDv7 of that moment."""
    milliseconds = (at - EPOCH) // timedelta(milliseconds=1)
    number = (milliseconds << 80) | secrets.randbits(80)
    return UUID(int=number & ~(0xF << 76) & ~(0b11 << 62) | (7 << 76) | (0b10 << 62))


def an_arm(
    name: str = "small",
    *,
    status: ArmStatus = ArmStatus.ACTIVE,
    price: Price | None = A_PRICE,
    valid_from: datetime = NOW - timedelta(days=30),
    context_window_tokens: int | None = None,
    offline: Mapping[Objective, OfflinePrior] | None = None,
) -> Arm:
    """An arm with a price that has long been in force."""
    return Arm(
        id=ArmId(uuid4()),
        name=name,
        status=status,
        prices=() if price is None else (PriceVersion(valid_from, price),),
        context_window_tokens=context_window_tokens,
        offline=offline if offline is not None else {},
    )


def an_offline_prior(
    schema_id: str = schema_of(A_CONTEXT).id,
    *,
    features: int = 4,
    rows: int = 40,
    strength: float = 20.0,
    target: float = -0.2,
) -> OfflinePrior:
    """What so many outcomes near one target say; contexts are random, and end with 1."""
    random = np.random.default_rng(rows)
    contexts = np.clip(random.normal(size=(rows, features)), -3, 3).astype(np.float32)
    contexts[:, -1] = 1.0
    targets = target + 0.1 * random.normal(size=rows)
    return offline_prior(contexts, targets, schema_id, strength=strength)


def a_policy(
    name: str | None = None,
    *,
    settings: PolicySettings | None = None,
    arms: Sequence[Arm] | None = None,
    created_at: datetime = NOW - timedelta(days=30),
) -> Policy:
    """A policy of a name of its own, with two arms and contexts of four features."""
    policy_id = PolicyId(uuid4())
    return Policy(
        id=policy_id,
        name=name if name is not None else f"policy-{policy_id}",
        settings=settings if settings is not None else PolicySettings(context=A_CONTEXT),
        key=secrets.token_bytes(32),
        created_at=created_at,
        arms=tuple(arms) if arms is not None else (an_arm("small"), an_arm("large")),
    )


def an_event(kind: str = "create_policy", **detail: str) -> PolicyEvent:
    """Something that somebody did to a policy."""
    return PolicyEvent(at=NOW, who="somebody", kind=kind, detail=detail)


def a_decision(
    policy: Policy,
    *,
    id: UUID | None = None,
    at: datetime = NOW,
    arm: Arm | None = None,
    propensity: float = 0.5,
    context: Sequence[float] | NDArray[np.float32] | None = None,
    tradeoff: Tradeoff | None = None,
    fingerprint: bytes = b"request",
    input_tokens: int = 1000,
    labels: Mapping[str, str] | None = None,
    charge: Charge | None = None,
    deadlines: Mapping[Objective, Deadline] = NO_DEADLINES,
    is_deferred: bool = False,
    activated_at: datetime | None = None,
) -> Decision:
    """A decision of that policy for its first arm; the context ends with the constant 1."""
    schema = schema_of(policy.settings.context)
    arm = arm if arm is not None else policy.arms[0]
    price = arm.price_at(at)
    if context is None:
        context = [*np.linspace(-0.5, 0.5, schema.features - 1), 1.0]
    candidates = np.zeros(len(policy.present_arms), dtype=CANDIDATE)
    candidates["arm"] = [arm_bits(present.id) for present in policy.present_arms]
    candidates["propensity"] = (1 - propensity) / max(len(candidates) - 1, 1)
    candidates["propensity"][(candidates["arm"] == arm_bits(arm.id)).all(axis=1)] = propensity
    candidates["mean"] = (0.9, 0.001, 1500.0)
    return Decision(
        id=DecisionId(id if id is not None else a_uuid7(at)),
        policy_id=policy.id,
        at=at,
        arm_id=arm.id,
        propensity=propensity,
        context=np.asarray(context, dtype=np.float32),
        schema_id=schema.id,
        fingerprint=fingerprint,
        tradeoff=tradeoff if tradeoff is not None else Preference(quality=0.8, cost=0.2),
        input_tokens=input_tokens,
        list_usd=0.001 if price is None else price.list_usd(input_tokens),
        price=price,
        policy_version=policy.version,
        snapshot_version=0,
        candidates=candidates,
        labels=labels if labels is not None else {},
        charge=charge,
        deadlines=deadlines,
        is_deferred=is_deferred,
        activated_at=activated_at,
    )


def a_charge(
    *,
    epoch: int = 2,
    price: float = 40.0,
    overshoot_usd: float | None = 0.0,
    expected_usd: float = 0.001,
    reserved_usd: float | None = None,
    limit_name: str | None = None,
) -> Charge:
    """What a budget with a target booked for a decision."""
    return Charge(
        epoch=epoch,
        price=price,
        balance=-0.25,
        utilisation=None if overshoot_usd is None else 0.9,
        overshoot_usd=overshoot_usd,
        expected_usd=expected_usd,
        reserved_usd=reserved_usd,
        limit_name=limit_name,
    )


def an_outcome(
    decision: Decision,
    objective: Objective = Objective.QUALITY,
    *,
    value: float = 0.75,
    source: str = "default",
    sequence: int = 0,
    received_at: datetime | None = None,
    observed_at: datetime | None = None,
) -> OutcomeRow:
    """An outcome of that decision, received a minute after it."""
    return OutcomeRow(
        decision_id=decision.id,
        objective=objective,
        source=source,
        sequence=sequence,
        value=value,
        received_at=(
            received_at if received_at is not None else decision.at + timedelta(minutes=1)
        ),
        observed_at=observed_at,
    )
