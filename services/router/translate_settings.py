"""Between messages and the domain: the settings of a policy."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from bandit.domain.errors import InvalidInput
from bandit.domain.label_rule import LabelRule
from bandit.domain.objective import HEADS, Objective
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
from bandit.domain.reward_window import RewardWindow, check_default
from bandit.policies.utility import normaliser_of
from bandit.wire import catalog_pb2 as pb
from services.router.translate_fields import kind_of, moved, present

OBJECTIVES = {
    Objective.QUALITY: pb.OBJECTIVE_QUALITY,
    Objective.COST: pb.OBJECTIVE_COST,
    Objective.LATENCY: pb.OBJECTIVE_LATENCY,
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


def settings_message(policy: Policy, at: datetime) -> pb.PolicySettings:
    """What is in force at that moment; a cost range that is not set follows the prices."""
    settings = policy.settings
    normaliser = normaliser_of(settings, policy.present_arms, at)
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
