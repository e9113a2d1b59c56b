"""From a caller's arguments to the messages of the API."""

import struct
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from bandit.client.decision_ids import new_decision_id
from bandit.client.results import Arm
from bandit.domain.arm import ArmStatus
from bandit.domain.budget import Budget
from bandit.domain.errors import InvalidInput
from bandit.domain.objective import Objective
from bandit.domain.policy import (
    Algorithm,
    ContextSettings,
    ContextSource,
    CostForm,
    Detector,
    DriftSettings,
    PolicySettings,
    WhenOffline,
)
from bandit.domain.preference import Preference, Tradeoff
from bandit.domain.price import Price
from bandit.wire import catalog_pb2, feedback_pb2, router_pb2

ALGORITHMS: dict[Algorithm, catalog_pb2.Algorithm.ValueType] = {
    Algorithm.THOMPSON: catalog_pb2.ALGORITHM_THOMPSON,
    Algorithm.LINUCB: catalog_pb2.ALGORITHM_LINUCB,
    Algorithm.GREEDY: catalog_pb2.ALGORITHM_GREEDY,
    Algorithm.EPSILON_GREEDY: catalog_pb2.ALGORITHM_EPSILON_GREEDY,
    Algorithm.UNIFORM: catalog_pb2.ALGORITHM_UNIFORM,
}
OBJECTIVES: dict[Objective, catalog_pb2.Objective.ValueType] = {
    Objective.QUALITY: catalog_pb2.OBJECTIVE_QUALITY,
    Objective.COST: catalog_pb2.OBJECTIVE_COST,
    Objective.LATENCY: catalog_pb2.OBJECTIVE_LATENCY,
}
DETECTORS: dict[Detector, catalog_pb2.DriftDetector.ValueType] = {
    Detector.CUSUM: catalog_pb2.DRIFT_DETECTOR_CUSUM,
    Detector.PAGE_HINKLEY: catalog_pb2.DRIFT_DETECTOR_PAGE_HINKLEY,
    Detector.ADWIN: catalog_pb2.DRIFT_DETECTOR_ADWIN,
    Detector.OFF: catalog_pb2.DRIFT_DETECTOR_OFF,
}
WHEN_OFFLINE: dict[WhenOffline, catalog_pb2.WhenOffline.ValueType] = {
    WhenOffline.SERVE: catalog_pb2.WHEN_OFFLINE_SERVE,
    WhenOffline.REFUSE: catalog_pb2.WHEN_OFFLINE_REFUSE,
}
COST_FORMS: dict[CostForm, catalog_pb2.CostForm.ValueType] = {
    CostForm.LOG: catalog_pb2.COST_FORM_LOG,
    CostForm.CAPPED_LINEAR: catalog_pb2.COST_FORM_CAPPED_LINEAR,
}
STATUSES: dict[ArmStatus, catalog_pb2.ArmStatus.ValueType] = {
    ArmStatus.SHADOW: catalog_pb2.ARM_STATUS_SHADOW,
    ArmStatus.EXPLORE: catalog_pb2.ARM_STATUS_EXPLORE,
    ArmStatus.ACTIVE: catalog_pb2.ARM_STATUS_ACTIVE,
    ArmStatus.DRAINING: catalog_pb2.ARM_STATUS_DRAINING,
    ArmStatus.RETIRED: catalog_pb2.ARM_STATUS_RETIRED,
}


def query(
    policy: str,
    *,
    text: str | None = None,
    vector: Sequence[float] | None = None,
    features: Mapping[str, float] | None = None,
    preference: Preference | None = None,
    willingness_to_pay_usd: float | None = None,
    preference_profile: str | None = None,
    allow_arms: Iterable[str] = (),
    deny_arms: Iterable[str] = (),
    max_cost_usd: float | None = None,
    max_latency_ms: float | None = None,
    min_quality: float | None = None,
    switch_cost_usd: Mapping[str, float] | None = None,
    input_tokens: int | None = None,
    max_output_tokens: int | None = None,
    decision_id: UUID | str | None = None,
    explain: bool = False,
    defer_activation: bool = False,
    labels: Mapping[str, str] | None = None,
) -> router_pb2.SelectRequest:
    """
    One request for a choice, for `batch_select`.

    text, vector             what is to be answered, as the policy's context asks for it
    features                 numbers by name, those that the policy declares
    preference               weights of quality, cost and latency; None: the policy's default, or
                             quality alone where a budget says what it may cost
    willingness_to_pay_usd   in place of a preference: USD that one unit of quality is worth
    preference_profile       in place of both: the name of one of the policy's profiles
    max_cost_usd, ...        only arms predicted within these limits
    switch_cost_usd          by arm: what turning to it costs now besides the call
    input_tokens             None: the text's characters / 4
    decision_id              None: one is made, so that a retry is the same decision
    explain                  bring every candidate
    defer_activation         nothing is learned from the decision before `activate` is called for it
    labels                   recorded with the decision; the policy's rules may go by them
    """
    if text is not None and vector is not None:
        raise InvalidInput("query", "is a text or a vector, not both")
    wanted = (preference, willingness_to_pay_usd, preference_profile)
    if sum(part is not None for part in wanted) > 1:
        raise InvalidInput(
            "tradeoff", "is a preference, a willingness to pay or a profile, not both"
        )
    request = router_pb2.SelectRequest(
        policy=policy,
        vector=None if vector is None else router_pb2.Vector(values=vector),
        features=features,
        preference=None if preference is None else preference_message(preference),
        allow_arms=allow_arms,
        deny_arms=deny_arms,
        max_cost_usd=max_cost_usd,
        max_latency_ms=max_latency_ms,
        min_quality=min_quality,
        switch_cost_usd=switch_cost_usd,
        input_tokens=input_tokens,
        max_output_tokens=max_output_tokens,
        decision_id="" if decision_id is None else str(decision_id),
        explain=explain,
        defer_activation=defer_activation,
        labels=labels,
    )
    if text is not None:
        request.text = text
    if willingness_to_pay_usd is not None:
        request.willingness_to_pay_usd = willingness_to_pay_usd
    if preference_profile is not None:
        request.preference_profile = preference_profile
    return request


def with_decision_id(request: router_pb2.SelectRequest) -> router_pb2.SelectRequest:
    """The request with an id of its own, if it has none; the caller's message is left as it is."""
    if request.decision_id:
        return request
    copy = router_pb2.SelectRequest()
    copy.CopyFrom(request)
    copy.decision_id = str(new_decision_id())
    return copy


def outcome(
    policy: str,
    *,
    decision_id: UUID | str,
    arm: str,
    quality: float | None = None,
    cost_usd: float | None = None,
    latency_ms: float | None = None,
    output_tokens: int | None = None,
    failed: bool = False,
    sequence: int = 0,
    observed_at: datetime | None = None,
    dry_run: bool = False,
) -> feedback_pb2.ReportRequest:
    """
    The outcome of one decision or a part of it, for `batch_report`.

    arm             the one that really answered
    quality         0 to 1
    output_tokens   gives the cost at the decision's price, where `cost_usd` is not known
    failed          quality 0, unless quality is given too
    sequence        the same again is a repetition; a higher one corrects
    dry_run         say what would become of it, record nothing
    """
    return feedback_pb2.ReportRequest(
        policy=policy,
        decision_id=str(decision_id),
        arm=arm,
        quality=quality,
        cost_usd=cost_usd,
        latency_ms=latency_ms,
        output_tokens=output_tokens,
        failed=failed,
        sequence=sequence,
        observed_at=None if observed_at is None else timestamp(observed_at),
        dry_run=dry_run,
    )


def preference_message(preference: Preference) -> catalog_pb2.Preference:
    """A preference."""
    return catalog_pb2.Preference(
        quality=preference.quality, cost=preference.cost, latency=preference.latency
    )


def tradeoff_message(tradeoff: Tradeoff) -> catalog_pb2.Tradeoff:
    """A trade-off that a policy keeps."""
    if isinstance(tradeoff, Preference):
        return catalog_pb2.Tradeoff(preference=preference_message(tradeoff))
    return catalog_pb2.Tradeoff(willingness_to_pay_usd=tradeoff.usd)


def price_message(price: Price) -> catalog_pb2.Price:
    """A price."""
    return catalog_pb2.Price(
        input_usd_per_million=price.input_usd_per_million,
        output_usd_per_million=price.output_usd_per_million,
        fee_usd=price.fee_usd,
    )


def budget_message(budget: Budget) -> catalog_pb2.Budget:
    """A budget."""
    return catalog_pb2.Budget(
        target_usd_per_decision=budget.target_usd,
        quality_floor=budget.quality_floor,
        limit_usd=budget.limit_usd,
        window_hours=budget.window_hours,
    )


def arm_message(arm: Arm) -> catalog_pb2.Arm:
    """An arm that is to be."""
    return catalog_pb2.Arm(
        name=arm.name,
        status=catalog_pb2.ARM_STATUS_UNSPECIFIED if arm.status is None else STATUSES[arm.status],
        price=None if arm.price is None else price_message(arm.price),
        context_window_tokens=arm.context_window_tokens,
        offline_prior=_offline_message(arm) if arm.offline else None,
        explore_limit_usd=arm.explore_limit_usd,
    )


def _offline_message(arm: Arm) -> catalog_pb2.OfflinePrior:
    schemas = {offline.schema_id for offline in arm.offline.values()}
    if len(schemas) > 1:
        raise InvalidInput("arm.offline_prior.schema_id", "must be the same for all objectives")
    return catalog_pb2.OfflinePrior(
        schema_id=schemas.pop(),
        heads=[
            catalog_pb2.HeadPrior(
                objective=OBJECTIVES[objective],
                sums=struct.unpack(f"<{len(offline.sums) // 8}d", offline.sums),
                rows=offline.rows,
                strength=offline.strength,
            )
            for objective, offline in arm.offline.items()
        ],
    )


def settings_message(settings: PolicySettings) -> catalog_pb2.PolicySettings:
    """A policy's settings, whole."""
    cost_range, latency_range = settings.cost_range, settings.latency_range_ms
    half_lives = {o.label: hours for o, hours in settings.half_life_hours.items()}
    return catalog_pb2.PolicySettings(
        algorithm=ALGORITHMS[settings.algorithm],
        temperature=settings.temperature,
        alpha=settings.alpha,
        epsilon=settings.epsilon,
        context=_context_message(settings.context),
        objectives=[OBJECTIVES[objective] for objective in settings.objectives],
        default_preference=preference_message(settings.default_preference),
        cost_range_usd=None
        if cost_range is None
        else catalog_pb2.Range(low=cost_range.low, high=cost_range.high),
        latency_range_ms=catalog_pb2.Range(low=latency_range.low, high=latency_range.high),
        cost_form=COST_FORMS[settings.cost_form],
        half_life_hours=catalog_pb2.HalfLife(**half_lives) if half_lives else None,
        quality_prior_mean=settings.quality_prior_mean,
        profiles={name: tradeoff_message(kept) for name, kept in settings.profiles.items()},
        rules=[
            catalog_pb2.LabelRule(label=rule.label, value=rule.value, arms=rule.arms)
            for rule in settings.rules
        ],
        drift=_drift_message(settings.drift),
        explore_quota=settings.explore_quota,
        reward_windows=[
            catalog_pb2.RewardWindow(
                objective=OBJECTIVES[objective],
                window_hours=window.hours,
                default_value=window.default,
            )
            for objective, window in settings.reward_windows.items()
        ],
        when_offline=WHEN_OFFLINE[settings.when_offline],
    )


def _drift_message(drift: DriftSettings) -> catalog_pb2.DriftSettings:
    return catalog_pb2.DriftSettings(
        quality=DETECTORS[drift.quality],
        cost=DETECTORS[drift.cost],
        latency=DETECTORS[drift.latency],
    )


def _context_message(context: ContextSettings) -> catalog_pb2.ContextSettings:
    named = [
        catalog_pb2.NamedFeature(name=f.name, mean=f.mean, deviation=f.deviation)
        for f in context.named
    ]
    message = catalog_pb2.ContextSettings(features=named)
    match context.source:
        case ContextSource.TEXT:
            message.text.SetInParent()
        case ContextSource.VECTOR:
            message.vector.length = context.vector_length
        case ContextSource.NONE:
            pass
    return message


def timestamp(moment: datetime) -> Timestamp:
    """A moment; one without a time zone is taken for local time, as Python does."""
    message = Timestamp()
    message.FromDatetime(moment.astimezone(UTC))
    return message
