"""From the messages of the API to the results that callers read."""

from collections.abc import Iterable
from datetime import UTC
from types import MappingProxyType
from typing import Any
from uuid import UUID

from bandit.client import requests
from bandit.client.errors import RouterError, error_from_status
from bandit.client.results import (
    Arm,
    ArmState,
    BudgetStatus,
    BudgetWindow,
    Candidate,
    Charge,
    Decision,
    Estimate,
    HeadState,
    Policy,
    PolicyState,
    Prediction,
    ReportResult,
    Trials,
)
from bandit.domain.budget import Budget
from bandit.domain.label_rule import LabelRule
from bandit.domain.objective import Objective
from bandit.domain.offline_prior import OfflinePrior
from bandit.domain.outcome import Disposition, Receipt
from bandit.domain.policy import (
    Algorithm,
    ContextSettings,
    ContextSource,
    CostForm,
    Detector,
    DriftSettings,
    NamedFeature,
    PolicySettings,
    Range,
    WhenOffline,
)
from bandit.domain.preference import Preference, Tradeoff, WillingnessToPay
from bandit.domain.price import Price
from bandit.domain.reward_window import RewardWindow
from bandit.wire import catalog_pb2, feedback_pb2, learning_pb2, router_pb2

_ALGORITHMS = {number: algorithm for algorithm, number in requests.ALGORITHMS.items()}
_OBJECTIVES = {number: objective for objective, number in requests.OBJECTIVES.items()}
_DETECTORS = {number: detector for detector, number in requests.DETECTORS.items()}
_WHEN_OFFLINE = {number: what for what, number in requests.WHEN_OFFLINE.items()}
_COST_FORMS = {number: form for form, number in requests.COST_FORMS.items()}
_STATUSES = {number: status for status, number in requests.STATUSES.items()}
_DISPOSITIONS = {
    feedback_pb2.DISPOSITION_ACCEPTED: Disposition.ACCEPTED,
    feedback_pb2.DISPOSITION_DUPLICATE: Disposition.DUPLICATE,
    feedback_pb2.DISPOSITION_CORRECTED: Disposition.CORRECTED,
    feedback_pb2.DISPOSITION_IGNORED: Disposition.IGNORED,
}


def decision(message: router_pb2.SelectResponse, *, policy: str) -> Decision:
    """The answer to Select."""
    return Decision(
        policy=policy,
        id=UUID(message.decision_id) if message.decision_id else None,
        arm=message.arm,
        propensity=message.propensity,
        predicted=_prediction(message.predicted),
        ranked=tuple(message.ranked),
        candidates=tuple(
            Candidate(
                arm=candidate.arm,
                predicted=_prediction(candidate.predicted),
                utility=candidate.utility,
                propensity=candidate.propensity,
                removed_by=candidate.removed_by,
            )
            for candidate in message.candidates
        ),
        policy_version=message.policy_version,
        snapshot_version=message.snapshot_version,
        is_durable=message.durable,
        is_replayed=message.replayed,
        budget=_charge(message.budget) if message.HasField("budget") else None,
    )


def decision_item(item: router_pb2.BatchSelectItem, *, policy: str) -> Decision | RouterError:
    """One answer of BatchSelect."""
    if item.HasField("error"):
        return error_from_status(item.error)
    return decision(item.response, policy=policy)


def report_result(message: feedback_pb2.ReportResponse) -> ReportResult:
    """The answer to Report."""
    return ReportResult(
        tuple(
            Receipt(_OBJECTIVES[head.objective], _DISPOSITIONS[head.disposition], head.reason)
            for head in message.heads
        )
    )


def report_item(item: feedback_pb2.BatchReportItem) -> ReportResult | RouterError:
    """One answer of BatchReport."""
    if item.HasField("error"):
        return error_from_status(item.error)
    return report_result(item.response)


def policy(message: catalog_pb2.Policy) -> Policy:
    """A policy with its arms."""
    return Policy(
        name=message.name,
        settings=_settings(message.settings),
        policy_version=message.policy_version,
        learned_version=message.learned_version,
        created_at=message.created_at.ToDatetime(UTC),
        is_archived=message.archived,
        arms=tuple(
            Arm(
                name=arm.name,
                status=_STATUSES[arm.status],
                price=_price(arm.price) if arm.HasField("price") else None,
                context_window_tokens=arm.context_window_tokens
                if arm.HasField("context_window_tokens")
                else None,
                offline=_offline(arm.offline_prior),
                explore_limit_usd=_present(arm, "explore_limit_usd"),
            )
            for arm in message.arms
        ),
        budget=_budget(message.budget) if message.HasField("budget") else None,
    )


def budget_status(message: catalog_pb2.GetBudgetResponse) -> BudgetStatus | None:
    """The answer to GetBudget."""
    return _budget_status(message.status) if message.HasField("status") else None


def state(message: learning_pb2.LearningState) -> PolicyState:
    """What is believed about a policy's arms."""
    return PolicyState(
        policy=message.policy,
        policy_version=message.policy_version,
        learned_version=message.learned_version,
        snapshot_version=message.snapshot_version,
        as_of=message.as_of.ToDatetime(UTC),
        pending_outcomes=message.pending_outcomes,
        arms=tuple(
            ArmState(
                arm=arm.arm,
                status=_STATUSES[arm.status],
                price=_price(arm.price) if arm.HasField("price") else None,
                heads=tuple(_head(head) for head in arm.heads),
                exploring=_trials(arm.exploring) if arm.HasField("exploring") else None,
            )
            for arm in message.arms
        ),
        context_weight=message.context_weight,
        budget=_budget_status(message.budget) if message.HasField("budget") else None,
        reward_windows=_reward_windows(message.reward_windows),
    )


def _charge(message: router_pb2.Charge) -> Charge:
    return Charge(
        price=message.price,
        balance=message.balance,
        utilisation=_present(message, "utilisation"),
        overshoot_usd=_present(message, "overshoot_usd"),
        expected_usd=message.expected_usd,
        reserved_usd=_present(message, "reserved_usd"),
    )


def _budget(message: catalog_pb2.Budget) -> Budget:
    return Budget(
        target_usd=_present(message, "target_usd_per_decision"),
        quality_floor=_present(message, "quality_floor"),
        limit_usd=_present(message, "limit_usd"),
        window_hours=message.window_hours,
    )


def _budget_status(message: catalog_pb2.BudgetStatus) -> BudgetStatus:
    window = message.window
    return BudgetStatus(
        budget=_budget(message.budget),
        price=message.price,
        balance=message.balance,
        decisions=message.decisions,
        spent_usd=message.spent_usd,
        utilisation=_present(message, "utilisation"),
        overshoot_usd=_present(message, "overshoot_usd"),
        window=BudgetWindow(window.start.ToDatetime(UTC), window.limit_usd, window.taken_usd)
        if message.HasField("window")
        else None,
    )


def _trials(message: learning_pb2.ExploreStatus) -> Trials:
    limit_usd = _present(message, "limit_usd")
    return Trials(message.taken, message.quota, limit_usd, message.taken_usd)


def _head(head: learning_pb2.HeadState) -> HeadState:
    return HeadState(
        objective=_OBJECTIVES[head.objective],
        observations=head.observations,
        weight=head.weight,
        mean=head.mean,
        deviation=head.deviation,
        version=head.version,
        fault=head.fault,
        alarms=head.alarms,
        alarmed_at=head.alarmed_at.ToDatetime(UTC) if head.HasField("alarmed_at") else None,
        prior_strength=head.prior_strength,
    )


def _offline(message: catalog_pb2.OfflinePrior) -> MappingProxyType[Objective, OfflinePrior]:
    return MappingProxyType(
        {
            _OBJECTIVES[head.objective]: OfflinePrior(
                head.rows, head.strength, message.schema_id, sums=b""
            )
            for head in message.heads
        }
    )


def _prediction(message: router_pb2.Predicted) -> Prediction:
    def estimate(part: router_pb2.Estimate) -> Estimate:
        return Estimate(part.mean, part.deviation)

    return Prediction(
        quality=estimate(message.quality) if message.HasField("quality") else None,
        cost_usd=estimate(message.cost_usd) if message.HasField("cost_usd") else None,
        latency_ms=estimate(message.latency_ms) if message.HasField("latency_ms") else None,
    )


def _price(message: catalog_pb2.Price) -> Price:
    return Price(message.input_usd_per_million, message.output_usd_per_million, message.fee_usd)


def _settings(message: catalog_pb2.PolicySettings) -> PolicySettings:
    """Settings in force; a part that the service leaves out has its default."""
    default = PolicySettings()
    return PolicySettings(
        algorithm=_ALGORITHMS.get(message.algorithm, Algorithm.THOMPSON),
        temperature=message.temperature,
        alpha=message.alpha,
        epsilon=message.epsilon,
        context=_context(message.context),
        objectives=tuple(_OBJECTIVES[objective] for objective in message.objectives),
        default_preference=_preference(message.default_preference),
        cost_form=_COST_FORMS.get(message.cost_form, CostForm.LOG),
        cost_range=Range(message.cost_range_usd.low, message.cost_range_usd.high)
        if message.HasField("cost_range_usd")
        else None,
        latency_range_ms=Range(message.latency_range_ms.low, message.latency_range_ms.high)
        if message.HasField("latency_range_ms")
        else default.latency_range_ms,
        quality_prior_mean=message.quality_prior_mean,
        half_life_hours=MappingProxyType(
            {
                objective: getattr(message.half_life_hours, objective.label)
                for objective in Objective
                if message.half_life_hours.HasField(objective.label)  # type: ignore[arg-type]
            }
        ),
        profiles=MappingProxyType(
            {name: _tradeoff(kept) for name, kept in message.profiles.items()}
        ),
        rules=tuple(LabelRule(rule.label, rule.value, tuple(rule.arms)) for rule in message.rules),
        drift=DriftSettings(
            *(
                _DETECTORS.get(getattr(message.drift, objective.label), Detector.CUSUM)
                for objective in Objective
            )
        ),
        explore_quota=message.explore_quota
        if message.HasField("explore_quota")
        else default.explore_quota,
        reward_windows=_reward_windows(message.reward_windows),
        when_offline=_WHEN_OFFLINE.get(message.when_offline, WhenOffline.SERVE),
    )


def _reward_windows(
    messages: Iterable[catalog_pb2.RewardWindow],
) -> MappingProxyType[Objective, RewardWindow]:
    return MappingProxyType(
        {
            _OBJECTIVES[message.objective]: RewardWindow(
                message.window_hours, _present(message, "default_value")
            )
            for message in messages
        }
    )


def _present(message: Any, field: str) -> Any:
    """The value of an optional field; None where it is absent."""
    return getattr(message, field) if message.HasField(field) else None


def _tradeoff(message: catalog_pb2.Tradeoff) -> Tradeoff:
    if message.HasField("preference"):
        return _preference(message.preference)
    return WillingnessToPay(message.willingness_to_pay_usd)


def _preference(message: catalog_pb2.Preference) -> Preference:
    return Preference(message.quality, message.cost, message.latency)


def _context(message: catalog_pb2.ContextSettings) -> ContextSettings:
    named = tuple(
        NamedFeature(f.name, f.mean, f.deviation if f.HasField("deviation") else 1.0)
        for f in message.features
    )
    match message.WhichOneof("source"):
        case "text":
            return ContextSettings(ContextSource.TEXT, named=named)
        case "vector":
            return ContextSettings(ContextSource.VECTOR, message.vector.length, named)
        case None:
            return ContextSettings(ContextSource.NONE, named=named)
