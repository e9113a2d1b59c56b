"""Between messages and the domain: deciding, reporting and showing what was learned."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from bandit.domain.arm import arm_key, checked_name
from bandit.domain.decision import Decision, DecisionId, arm_keys
from bandit.domain.errors import BanditError, InvalidInput, TooLarge
from bandit.domain.objective import Objective
from bandit.domain.outcome import Disposition, Receipt, Report
from bandit.domain.policy import Policy
from bandit.domain.preference import Preference, Tradeoff, WillingnessToPay
from bandit.domain.query import Query
from bandit.policies.eligibility import Removal
from bandit.routing.activation import Wanted
from bandit.routing.router import Answer
from bandit.wire import catalog_pb2, feedback_pb2, learning_pb2, router_pb2
from services.router import translate_catalog as catalog
from services.router.state import HeadState, State
from services.router.status import status_of
from services.router.translate_budget import (
    budget_status_message,
    charge_message,
    trials_message,
)
from services.router.translate_fields import moment, moved, present, timestamp, uuid_of
from services.router.translate_settings import OBJECTIVES, reward_window_messages

_DISPOSITIONS = {
    Disposition.ACCEPTED: feedback_pb2.DISPOSITION_ACCEPTED,
    Disposition.DUPLICATE: feedback_pb2.DISPOSITION_DUPLICATE,
    Disposition.CORRECTED: feedback_pb2.DISPOSITION_CORRECTED,
    Disposition.IGNORED: feedback_pb2.DISPOSITION_IGNORED,
}
_ESTIMATES = ("quality", "cost_usd", "latency_ms")  # in the order of `Objective`

_NOTHING: Mapping[str, Any] = MappingProxyType({})

_Request = TypeVar("_Request")
_Value = TypeVar("_Value")


# Deciding


def query(request: router_pb2.SelectRequest) -> Query:
    """What is asked; `InvalidInput` names the field."""
    # Only the fields that are there: asking for each of them takes three times as long.
    given = {field.name: value for field, value in request.ListFields()}
    vector, decision_id = given.get("vector"), given.get("decision_id")
    return Query(
        policy=checked_name("policy", given.get("policy", "")),
        text=given.get("text"),
        vector=None if vector is None else vector.values[:],
        features=_entries(given, "features"),
        tradeoff=_tradeoff(given),
        preference_profile=_profile(given),
        allow_arms=_names("allow_arms", given),
        deny_arms=_names("deny_arms", given),
        max_cost_usd=given.get("max_cost_usd"),
        max_latency_ms=given.get("max_latency_ms"),
        min_quality=given.get("min_quality"),
        switch_cost_usd=_entries(given, "switch_cost_usd"),
        input_tokens=given.get("input_tokens"),
        max_output_tokens=given.get("max_output_tokens"),
        decision_id=None if decision_id is None else uuid_of("decision_id", decision_id),
        labels=_entries(given, "labels"),
        explain=given.get("explain", False),
        defer_activation=given.get("defer_activation", False),
        fingerprint=fingerprint(request),
    )


def query_or_error(request: router_pb2.SelectRequest) -> Query | BanditError:
    """What is asked, or what is wrong with it."""
    try:
        return query(request)
    except BanditError as error:
        return error


def queries(request: router_pb2.BatchSelectRequest, *, most: int) -> list[Query | BanditError]:
    """What is asked, item by item."""
    return _each(request.requests, query, most=most)


def preview_query(request: router_pb2.PreviewRequest) -> Query:
    """What would be asked; its fields lie under `request`."""
    with moved("", "request."):
        return query(request.request)


def fingerprint(request: router_pb2.SelectRequest) -> bytes:
    """
    Hash of everything in a request that makes the decision: tells a repetition from another one.
    """
    deciding = request
    if request.decision_id or request.explain:
        deciding = router_pb2.SelectRequest()
        deciding.CopyFrom(request)
        for field in ("decision_id", "explain"):
            deciding.ClearField(field)
    return hashlib.sha256(deciding.SerializeToString(deterministic=True)).digest()


def select_response(answer: Answer, *, explain: bool) -> router_pb2.SelectResponse:
    """The answer to a `Select`, the same whether it was made now or read from the log."""
    response = router_pb2.SelectResponse()
    _answer_in(response, answer, explain=explain)
    return response


def preview_response(answer: Answer) -> router_pb2.PreviewResponse:
    """What a `Select` would answer: explained, without an id, not durable."""
    message = router_pb2.PreviewResponse()
    _choose_in(message.response, answer.recorded.decision, answer.policy, explain=True)
    return message


def batch_select_response(
    request: router_pb2.BatchSelectRequest, answers: Sequence[Answer | BanditError]
) -> router_pb2.BatchSelectResponse:
    """One item per request: its answer, or the error that it alone has."""
    message = router_pb2.BatchSelectResponse()
    for asked, answer in zip(request.requests, answers, strict=True):
        item = message.items.add()
        if isinstance(answer, BanditError):
            item.error.CopyFrom(status_of(answer))
        else:
            _answer_in(item.response, answer, explain=asked.explain)
    return message


def _entries(given: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    # Not `dict(entries)`: the message asks its abstract base class for each of them.
    entries = given.get(field)
    return _NOTHING if entries is None else {key: entries[key] for key in entries}


def _names(field: str, given: Mapping[str, Any]) -> tuple[str, ...]:
    if field not in given:
        return ()
    names = tuple(given[field])
    for position, name in enumerate(names):
        checked_name(f"{field}[{position}]", name)
    return names


def _tradeoff(given: Mapping[str, Any]) -> Tradeoff | None:
    if "preference" in given:
        return preference(given["preference"])
    if "willingness_to_pay_usd" in given:
        return WillingnessToPay(usd=given["willingness_to_pay_usd"])
    return None


def _profile(given: Mapping[str, Any]) -> str | None:
    if "preference_profile" not in given:
        return None
    return checked_name("preference_profile", given["preference_profile"])


def preference(message: catalog_pb2.Preference) -> Preference:
    """The weights; errors lie under `preference`."""
    return _preference(message.quality, message.cost, message.latency)


@lru_cache(maxsize=4096)
def _preference(quality: float, cost: float, latency: float) -> Preference:
    """Callers want the same again and again."""
    return Preference(quality, cost, latency)


# Messages are filled in where they lie: one that is made apart is copied into the one around it.


def _answer_in(response: router_pb2.SelectResponse, answer: Answer, *, explain: bool) -> None:
    decision = answer.recorded.decision
    _choose_in(response, decision, answer.policy, explain=explain)
    response.decision_id = str(decision.id)
    response.durable = answer.recorded.durable
    response.replayed = answer.recorded.replayed


def _choose_in(
    response: router_pb2.SelectResponse, decision: Decision, policy: Policy, *, explain: bool
) -> None:
    candidates = decision.candidates
    keys = arm_keys(candidates)
    names = list(map(policy.names.__getitem__, keys))
    removed = candidates["removed_by"].tolist()
    ranked = (
        [name for name, code in zip(names, removed, strict=True) if code == Removal.NONE]
        if any(removed)
        else names
    )
    chosen = keys.index(arm_key(decision.arm_id))
    response.arm = names[chosen]
    response.propensity = decision.propensity
    _predict_in(response.predicted, candidates[chosen])
    response.ranked.extend(ranked)
    response.policy_version = decision.policy_version
    response.snapshot_version = decision.snapshot_version
    if decision.charge is not None:
        response.budget.CopyFrom(charge_message(decision.charge))
    if not explain:
        return
    for name, row in zip(names, candidates, strict=True):
        candidate = response.candidates.add(
            arm=name,
            utility=float(row["utility"]),
            propensity=float(row["propensity"]),
            removed_by=Removal(int(row["removed_by"])).label,
        )
        _predict_in(candidate.predicted, row)


def _predict_in(predicted: router_pb2.Predicted, row: np.void) -> None:
    """As it was stored: what the policy did not learn then has no estimate."""
    predicted.SetInParent()
    estimates = zip(_ESTIMATES, row["mean"].tolist(), row["deviation"].tolist(), strict=True)
    for field, mean, deviation in estimates:
        if not math.isnan(mean):
            estimate = getattr(predicted, field)
            estimate.mean = mean
            estimate.deviation = deviation


def wanted(request: router_pb2.ActivateRequest) -> Wanted:
    """Which decision is to be learned from."""
    return Wanted(
        policy=checked_name("policy", request.policy),
        decision_id=DecisionId(uuid_of("decision_id", request.decision_id)),
    )


def activate_response(was_active: bool) -> router_pb2.ActivateResponse:
    """Whether it was active before."""
    return router_pb2.ActivateResponse(already_active=was_active)


# Reporting


def report(request: feedback_pb2.ReportRequest, *, source: str) -> Report:
    """What came back; `InvalidInput` names the field."""
    return Report(
        policy=checked_name("policy", request.policy),
        decision_id=DecisionId(uuid_of("decision_id", request.decision_id)),
        arm=checked_name("arm", request.arm),
        quality=present(request, "quality"),
        cost_usd=present(request, "cost_usd"),
        latency_ms=present(request, "latency_ms"),
        output_tokens=present(request, "output_tokens"),
        failed=request.failed,
        sequence=request.sequence,
        observed_at=moment(request, "observed_at"),
        dry_run=request.dry_run,
        source=source,
    )


def reports(
    request: feedback_pb2.BatchReportRequest, *, source: str, most: int
) -> list[Report | BanditError]:
    """What came back, item by item."""
    return _each(request.requests, lambda one: report(one, source=source), most=most)


def report_response(receipts: Sequence[Receipt]) -> feedback_pb2.ReportResponse:
    """What became of each value, in the order of the objectives."""
    return feedback_pb2.ReportResponse(
        heads=[
            feedback_pb2.HeadResult(
                objective=OBJECTIVES[receipt.objective],
                disposition=_DISPOSITIONS[receipt.disposition],
                reason=receipt.reason,
            )
            for receipt in sorted(receipts, key=lambda receipt: receipt.objective)
        ]
    )


def batch_report_response(
    answers: Sequence[Sequence[Receipt] | BanditError],
) -> feedback_pb2.BatchReportResponse:
    """One item per report: what became of it, or the error that it alone has."""
    return feedback_pb2.BatchReportResponse(items=[report_item(answer) for answer in answers])


def report_item(answer: Sequence[Receipt] | BanditError) -> feedback_pb2.BatchReportItem:
    """What became of one report among several, or the error that it alone has."""
    if isinstance(answer, BanditError):
        return feedback_pb2.BatchReportItem(error=status_of(answer))
    return feedback_pb2.BatchReportItem(response=report_response(answer))


# Showing what was learned


def policy_name(request: learning_pb2.GetStateRequest) -> str:
    """The policy whose state is asked for."""
    return checked_name("policy", request.policy)


def get_state_response(state: State) -> learning_pb2.GetStateResponse:
    """What is believed about a policy's arms."""
    snapshot = state.snapshot
    message = learning_pb2.LearningState(
        policy=snapshot.policy.name,
        policy_version=snapshot.policy.version,
        learned_version=state.learned_version,
        snapshot_version=snapshot.learned_version,
        as_of=timestamp(snapshot.as_of),
        pending_outcomes=state.pending,
        quarantined=state.quarantined,
        context_weight=snapshot.context_weights[Objective.QUALITY],
        budget=budget_status_message(state.spending.budget),
        reward_windows=reward_window_messages(snapshot.policy.settings),
    )
    for position, arm in enumerate(snapshot.arms):
        price = snapshot.prices[position]
        message.arms.add(
            arm=arm.name,
            status=catalog.ARM_STATUSES[arm.status],
            price=None if price is None else catalog.price_message(price),
            heads=[_head(head) for head in state.heads[position]],
            exploring=trials_message(state.spending.trials.get(arm.id)),
        )
    return learning_pb2.GetStateResponse(state=message)


def _head(head: HeadState) -> learning_pb2.HeadState:
    alarms = head.learned.alarms
    return learning_pb2.HeadState(
        objective=OBJECTIVES[head.objective],
        observations=head.learned.observations,
        weight=max(head.learned.posterior.weight, 0.0),
        mean=head.mean,
        deviation=head.deviation,
        version=head.learned.version,
        fault=head.learned.fault,
        prior_strength=head.prior_strength,
        alarms=len(alarms),
        alarmed_at=timestamp(alarms[-1].at) if alarms else None,
    )


# Batches


def _each(
    requests: Sequence[_Request], read: Callable[[_Request], _Value], *, most: int
) -> list[_Value | BanditError]:
    """Every item read, or what is wrong with it; a batch that is empty or too long is refused."""
    if not requests:
        raise InvalidInput("requests", "must bring at least one")
    if len(requests) > most:
        raise TooLarge("requests", limit=most, actual=len(requests))

    def item(request: _Request) -> _Value | BanditError:
        try:
            return read(request)
        except BanditError as error:
            return error

    return [item(request) for request in requests]
