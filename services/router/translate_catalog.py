"""Between messages and the domain: policies, arms and prices."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from bandit.domain.arm import Arm, ArmStatus, checked_name
from bandit.domain.errors import InvalidInput
from bandit.domain.objective import Objective
from bandit.domain.offline_prior import OfflinePrior
from bandit.domain.policy import (
    Policy,
)
from bandit.domain.price import Price
from bandit.routing.catalog import NewArm
from bandit.wire import catalog_pb2 as pb
from services.router.translate_budget import budget_message
from services.router.translate_fields import kind_of, moved, present, timestamp
from services.router.translate_settings import OBJECTIVES, settings_message

ARM_STATUSES = {
    ArmStatus.SHADOW: pb.ARM_STATUS_SHADOW,
    ArmStatus.EXPLORE: pb.ARM_STATUS_EXPLORE,
    ArmStatus.ACTIVE: pb.ARM_STATUS_ACTIVE,
    ArmStatus.DRAINING: pb.ARM_STATUS_DRAINING,
    ArmStatus.RETIRED: pb.ARM_STATUS_RETIRED,
}


@dataclass(frozen=True, slots=True)
class Described:
    """
    A policy with what an answer tells besides.

    learned_version  of the database
    at               the moment whose prices are told
    """

    policy: Policy
    learned_version: int
    at: datetime


# Requests


def policy_name(request: Any) -> str:
    """The name of the policy that a request is about."""
    return checked_name("policy", request.policy)


def arm_name(request: Any) -> str:
    """The name of the arm that a request is about."""
    return checked_name("arm", request.arm)


def new_policy_name(request: pb.CreatePolicyRequest) -> str:
    """The name of the policy to be made."""
    return checked_name("name", request.name)


def new_arms(request: pb.CreatePolicyRequest) -> list[NewArm]:
    """The first arms of a policy."""
    arms = []
    for position, arm in enumerate(request.arms):
        with moved("arm", f"arms[{position}]"):
            arms.append(new_arm(arm))
    return arms


def new_arm(message: pb.Arm) -> NewArm:
    """An arm as it is declared; errors lie under `arm`."""
    with moved("price", "arm.price"):
        return NewArm(
            name=message.name,
            status=_arm_status("arm.status", message.status),
            price=price(message.price) if message.HasField("price") else None,
            context_window_tokens=present(message, "context_window_tokens"),
            explore_limit_usd=present(message, "explore_limit_usd"),
            offline=_offline(message.offline_prior),
        )


def _offline(message: pb.OfflinePrior) -> dict[Objective, OfflinePrior]:
    """The priors in the order given; the keeper says whether their sums can be."""
    offline: dict[Objective, OfflinePrior] = {}
    for position, head in enumerate(message.heads):
        path = f"arm.offline_prior.heads[{position}]"
        objective = kind_of(OBJECTIVES, head.objective, f"{path}.objective")
        if objective in offline:
            raise InvalidInput(f"{path}.objective", "each at most once")
        with moved("offline", path):
            offline[objective] = OfflinePrior(
                rows=head.rows,
                strength=head.strength,
                schema_id=message.schema_id,
                sums=np.array(head.sums, dtype="<f8").tobytes(),
            )
    return offline


def status(request: pb.SetArmStatusRequest) -> ArmStatus:
    """The status to move to."""
    found = _arm_status("status", request.status)
    if found is None:
        raise InvalidInput("status", "is required")
    return found


def price(message: pb.Price) -> Price:
    """What an arm charges; errors lie under `price`."""
    return Price(
        input_usd_per_million=message.input_usd_per_million,
        output_usd_per_million=message.output_usd_per_million,
        fee_usd=message.fee_usd,
    )


def new_price(request: pb.SetPriceRequest) -> Price:
    """The price to put in force."""
    if not request.HasField("price"):
        raise InvalidInput("price", "is required")
    return price(request.price)


def expected_version(request: pb.UpdatePolicyRequest) -> int | None:
    """The version that the caller has seen; None: any."""
    return request.expected_policy_version or None


def _arm_status(field: str, number: int) -> ArmStatus | None:
    return kind_of(ARM_STATUSES, number, field) if number else None


# Responses


def policy_message(described: Described) -> pb.Policy:
    """A policy with its arms; its key is never told."""
    policy = described.policy
    return pb.Policy(
        name=policy.name,
        settings=settings_message(policy, described.at),
        policy_version=policy.version,
        learned_version=described.learned_version,
        created_at=timestamp(policy.created_at),
        archived=policy.is_archived,
        arms=[_arm_message(arm, described.at) for arm in policy.arms],
        budget=budget_message(policy.budget),
    )


def price_message(price: Price) -> pb.Price:
    """What an arm charges."""
    return pb.Price(
        input_usd_per_million=price.input_usd_per_million,
        output_usd_per_million=price.output_usd_per_million,
        fee_usd=price.fee_usd,
    )


def _arm_message(arm: Arm, at: datetime) -> pb.Arm:
    price = arm.price_at(at)
    return pb.Arm(
        name=arm.name,
        status=ARM_STATUSES[arm.status],
        price=None if price is None else price_message(price),
        context_window_tokens=arm.context_window_tokens,
        offline_prior=_offline_message(arm) if arm.offline else None,
        explore_limit_usd=arm.explore_limit_usd,
    )


def _offline_message(arm: Arm) -> pb.OfflinePrior:
    """What the priors count as; their sums are long, and never told."""
    message = pb.OfflinePrior()
    for objective, offline in arm.offline.items():
        message.schema_id = offline.schema_id
        message.heads.add(
            objective=OBJECTIVES[objective], rows=offline.rows, strength=offline.strength
        )
    return message
