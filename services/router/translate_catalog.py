"""Between messages and the domain: policies, arms and prices."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from bandit.domain.arm import Arm, ArmStatus, checked_name
from bandit.domain.errors import InvalidInput
from bandit.domain.label_rule import LabelRule
from bandit.domain.objective import HEADS, Objective
from bandit.domain.offline_prior import OfflinePrior
from bandit.domain.policy import (
    Algorithm,
    ContextSettings,
    ContextSource,
    CostForm,
    Detector,
    DriftSettings,
    NamedFeature,
    Policy,
    PolicySettings,
    Range,
    WhenOffline,
)
from bandit.domain.preference import Preference, Tradeoff, WillingnessToPay
from bandit.domain.price import Price
from bandit.domain.reward_window import RewardWindow, check_default
from bandit.policies.utility import normaliser_of
from bandit.routing.catalog import NewArm
from bandit.wire import catalog_pb2 as pb
from services.router.translate_budget import budget_message
from services.router.translate_fields import kind_of, moved, present, timestamp

OBJECTIVES = {
    Objective.QUALITY: pb.OBJECTIVE_QUALITY,
    Objective.COST: pb.OBJECTIVE_COST,
    Objective.LATENCY: pb.OBJECTIVE_LATENCY,
}
ARM_STATUSES = {
    ArmStatus.SHADOW: pb.ARM_STATUS_SHADOW,
    ArmStatus.EXPLORE: pb.ARM_STATUS_EXPLORE,
    ArmStatus.ACTIVE: pb.ARM_STATUS_ACTIVE,
    ArmStatus.DRAINING: pb.ARM_STATUS_DRAINING,
    ArmStatus.RETIRED: pb.ARM_STATUS_RETIRED,
}
_ALGORITHMS = {
    Algorithm.THOMPSON: pb.ALGORITHM_THOMPSON,
    Algorithm.LINUCB: pb.ALGORITHM_LINUCB,
    Algorithm.GREEDY: pb.ALGORITHM_GREEDY,
    Algorithm.EPSILON_GREEDY: pb.ALGORITHM_EPSILON_GREEDY,
    Algorithm.UNIFORM: pb.ALGORITHM_UNIFORM,
}
_DETECTORS = {
    Detector.CUSUM: pb.DRIFT_DETECTOR_CUSUM,
    Detector.PAGE_HINKLEY: pb.DRIFT_DETECTOR_PAGE_HINKLEY,
    Detector.ADWIN: pb.DRIFT_DETECTOR_ADWIN,
    Detector.OFF: pb.DRIFT_DETECTOR_OFF,
}
_WHEN_OFFLINE = {
    WhenOffline.SERVE: pb.WHEN_OFFLINE_SERVE,
    WhenOffline.REFUSE: pb.WHEN_OFFLINE_REFUSE,
}
_COST_FORMS = {
    CostForm.LOG: pb.COST_FORM_LOG,
    CostForm.CAPPED_LINEAR: pb.COST_FORM_CAPPED_LINEAR,
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


def settings(message: pb.PolicySettings) -> PolicySettings:
    """A policy's settings, defaults filled in; errors lie under `settings`."""
    given: dict[str, Any] = {
        name: getattr(message, name)
        for name in ("temperature", "alpha", "epsilon", "quality_prior_mean", "explore_quota")
        if message.HasField(name)
    }
    if message.HasField("context"):
        given["context"] = _context(message.context)
    if message.objectives:
        given["objectives"] = tuple(
            kind_of(OBJECTIVES, number, f"settings.objectives[{position}]")
            for position, number in enumerate(message.objectives)
        )
    if message.HasField("default_preference"):
        weights = message.default_preference
        with moved("preference", "settings.default_preference"):
            given["default_preference"] = Preference(weights.quality, weights.cost, weights.latency)
    for name, field in (("cost_range", "cost_range_usd"), ("latency_range_ms",) * 2):
        if message.HasField(field):  # type: ignore[arg-type]
            ends = getattr(message, field)
            with moved("range", f"settings.{field}"):
                given[name] = Range(low=ends.low, high=ends.high)
    if message.algorithm:
        given["algorithm"] = kind_of(_ALGORITHMS, message.algorithm, "settings.algorithm")
    if message.cost_form:
        given["cost_form"] = kind_of(_COST_FORMS, message.cost_form, "settings.cost_form")
    if message.when_offline:
        number = message.when_offline
        given["when_offline"] = kind_of(_WHEN_OFFLINE, number, "settings.when_offline")
    if message.HasField("drift"):
        given["drift"] = _drift(message.drift)
    if message.HasField("half_life_hours"):
        given["half_life_hours"] = {
            objective: hours
            for objective in Objective
            if (hours := present(message.half_life_hours, objective.label)) is not None
        }
    if message.profiles:
        given["profiles"] = {name: _profile(name, kept) for name, kept in message.profiles.items()}
    if message.rules:
        given["rules"] = tuple(
            _rule(f"settings.rules[{position}]", rule)
            for position, rule in enumerate(message.rules)
        )
    if message.reward_windows:
        learned = given.get("objectives", HEADS)
        given["reward_windows"] = _reward_windows(message, learned)
    return PolicySettings(**given)


def _reward_windows(
    message: pb.PolicySettings, learned: Collection[Objective]
) -> dict[Objective, RewardWindow]:
    windows: dict[Objective, RewardWindow] = {}
    for position, window in enumerate(message.reward_windows):
        path = f"settings.reward_windows[{position}]"
        objective = kind_of(OBJECTIVES, window.objective, f"{path}.objective")
        if objective in windows:
            raise InvalidInput(f"{path}.objective", "each at most once")
        if objective not in learned:
            raise InvalidInput(f"{path}.objective", "is not learned by the policy")
        with moved("window", path):
            default = present(window, "default_value")
            check_default(objective, default)
            windows[objective] = RewardWindow(window.window_hours, default)
    return windows


def _profile(name: str, message: pb.Tradeoff) -> Tradeoff:
    path = f"settings.profiles[{name}]"
    match message.WhichOneof("tradeoff"):
        case "preference":
            weights = message.preference
            with moved("preference", f"{path}.preference"):
                return Preference(weights.quality, weights.cost, weights.latency)
        case "willingness_to_pay_usd":
            with moved("willingness_to_pay_usd", f"{path}.willingness_to_pay_usd"):
                return WillingnessToPay(usd=message.willingness_to_pay_usd)
        case _:
            raise InvalidInput(path, "must be a preference or a willingness to pay")


def _rule(path: str, message: pb.LabelRule) -> LabelRule:
    with moved("rule", path):
        return LabelRule(message.label, message.value, tuple(message.arms))


def _drift(message: pb.DriftSettings) -> DriftSettings:
    given = {o.label: getattr(message, o.label) for o in Objective}
    return DriftSettings(
        **{
            label: kind_of(_DETECTORS, number, f"settings.drift.{label}")
            for label, number in given.items()
            if number
        }
    )


def _context(message: pb.ContextSettings) -> ContextSettings:
    sources = {"text": ContextSource.TEXT, "vector": ContextSource.VECTOR}
    named = []
    for position, feature in enumerate(message.features):
        with moved("settings.features", f"settings.context.features[{position}]"):
            named.append(
                NamedFeature(
                    name=feature.name,
                    mean=feature.mean,
                    deviation=feature.deviation if feature.HasField("deviation") else 1.0,
                )
            )
    with moved("settings.features", "settings.context.features"):
        return ContextSettings(
            source=sources.get(message.WhichOneof("source") or "", ContextSource.NONE),
            vector_length=message.vector.length,
            named=tuple(named),
        )


def _arm_status(field: str, number: int) -> ArmStatus | None:
    return kind_of(ARM_STATUSES, number, field) if number else None


# Responses


def policy_message(described: Described) -> pb.Policy:
    """A policy with its arms; its key is never told."""
    policy = described.policy
    return pb.Policy(
        name=policy.name,
        settings=_settings_message(described),
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


def _settings_message(described: Described) -> pb.PolicySettings:
    settings = described.policy.settings
    normaliser = normaliser_of(settings, described.policy.present_arms, described.at)
    half_lives = {o.label: hours for o, hours in settings.half_life_hours.items()}
    return pb.PolicySettings(
        algorithm=_ALGORITHMS[settings.algorithm],
        temperature=settings.temperature,
        alpha=settings.alpha,
        epsilon=settings.epsilon,
        context=_context_message(settings.context),
        objectives=[OBJECTIVES[objective] for objective in settings.objectives],
        default_preference=_preference_message(settings.default_preference),
        cost_range_usd=_range_message(normaliser.cost_range),
        latency_range_ms=_range_message(normaliser.latency_range),
        cost_form=_COST_FORMS[settings.cost_form],
        half_life_hours=pb.HalfLife(**half_lives) if half_lives else None,
        drift=pb.DriftSettings(
            quality=_DETECTORS[settings.drift.quality],
            cost=_DETECTORS[settings.drift.cost],
            latency=_DETECTORS[settings.drift.latency],
        ),
        quality_prior_mean=settings.quality_prior_mean,
        profiles={name: _tradeoff_message(kept) for name, kept in settings.profiles.items()},
        rules=[
            pb.LabelRule(label=rule.label, value=rule.value, arms=rule.arms)
            for rule in settings.rules
        ],
        explore_quota=settings.explore_quota,
        reward_windows=reward_window_messages(settings),
        when_offline=_WHEN_OFFLINE[settings.when_offline],
    )


def reward_window_messages(settings: PolicySettings) -> list[pb.RewardWindow]:
    """How long outcomes are waited for."""
    return [
        pb.RewardWindow(
            objective=OBJECTIVES[objective],
            window_hours=window.hours,
            default_value=window.default,
        )
        for objective, window in settings.reward_windows.items()
    ]


def _tradeoff_message(tradeoff: Tradeoff) -> pb.Tradeoff:
    if isinstance(tradeoff, Preference):
        return pb.Tradeoff(preference=_preference_message(tradeoff))
    return pb.Tradeoff(willingness_to_pay_usd=tradeoff.usd)


def _preference_message(preference: Preference) -> pb.Preference:
    return pb.Preference(
        quality=preference.quality, cost=preference.cost, latency=preference.latency
    )


def _context_message(settings: ContextSettings) -> pb.ContextSettings:
    message = pb.ContextSettings(
        features=[
            pb.NamedFeature(name=named.name, mean=named.mean, deviation=named.deviation)
            for named in settings.named
        ]
    )
    match settings.source:
        case ContextSource.TEXT:
            message.text.SetInParent()
        case ContextSource.VECTOR:
            message.vector.length = settings.vector_length
        case ContextSource.NONE:
            pass
    return message


def _range_message(ends: Range) -> pb.Range:
    return pb.Range(low=ends.low, high=ends.high)
