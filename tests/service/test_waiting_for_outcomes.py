"""Windows that close, decisions that wait: against a running service and its learner."""

import time
from collections.abc import Callable
from uuid import uuid4

import grpc
import pytest

from bandit.client import Arm, NotFoundError, RouterClient
from bandit.domain.objective import Objective
from bandit.domain.outcome import Disposition
from bandit.domain.policy import ContextSettings, ContextSource, PolicySettings
from bandit.domain.reward_window import RewardWindow
from bandit.wire import catalog_pb2 as c
from bandit.wire import feedback_pb2 as f
from bandit.wire import learning_pb2
from bandit.wire import router_pb2 as r
from services.supervisor import Stack
from tests.service.calls import Calls, error_of, eventually

A_SECOND_AND_A_HALF = 1.5 / 3600


def window(hours: float, default: float | None = None) -> c.RewardWindow:
    return c.RewardWindow(objective=c.OBJECTIVE_QUALITY, window_hours=hours, default_value=default)


def report(policy: str, chosen: r.SelectResponse, **fields: float) -> f.ReportRequest:
    return f.ReportRequest(policy=policy, decision_id=chosen.decision_id, arm=chosen.arm, **fields)


def activate(calls: Calls, policy: str, chosen: r.SelectResponse) -> bool:
    request = r.ActivateRequest(policy=policy, decision_id=chosen.decision_id)
    return bool(calls.router.Activate(request).already_active)


def head(state: learning_pb2.LearningState, arm: str) -> learning_pb2.HeadState:
    """What is believed of an arm's quality."""
    return next(it for it in state.arms if it.arm == arm).heads[0]


def test_a_default_counts_when_its_window_closes_and_an_outcome_in_time_instead_of_it(
    calls: Calls, new_policy: Callable[..., str]
) -> None:
    policy = new_policy(reward_windows=[window(A_SECOND_AND_A_HALF, 0.0)])
    calls.select(policy, allow_arms=["a"])
    praised = calls.select(policy, allow_arms=["b"])
    calls.feedback.Report(report(policy, praised, quality=1.0, latency_ms=500.0))
    closes_at = time.monotonic() + 1.5

    # Latency has no window and is learned at once; quality waits, and is not behind.
    early = eventually(
        lambda: calls.state(policy),
        lambda state: next(it for it in state.arms if it.arm == "b").heads[2].observations == 1,
    )
    is_open = time.monotonic() < closes_at - 0.2
    late = eventually(
        lambda: calls.learned(policy), lambda state: head(state, "a").observations == 1
    )

    if is_open:  # else this machine is too busy to look in time
        assert head(early, "a").observations == head(early, "b").observations == 0
        assert early.pending_outcomes == 0
    assert [(it.objective, it.window_hours) for it in early.reward_windows] == [
        (c.OBJECTIVE_QUALITY, A_SECOND_AND_A_HALF)
    ]
    assert head(late, "a").observations == head(late, "b").observations == 1
    assert head(late, "a").mean < 0.9 < head(late, "b").mean


def test_an_outcome_after_its_window_is_late_and_changes_nothing(
    calls: Calls, new_policy: Callable[..., str]
) -> None:
    policy = new_policy(reward_windows=[window(A_SECOND_AND_A_HALF)])
    chosen = calls.select(policy)
    first = calls.feedback.Report(report(policy, chosen, quality=0.5)).heads[0]
    time.sleep(1.6)

    again = calls.feedback.Report(report(policy, chosen, quality=0.5)).heads[0]
    late = calls.feedback.Report(report(policy, chosen, quality=0.0, sequence=1)).heads[0]

    assert first.disposition == f.DISPOSITION_ACCEPTED
    assert again.disposition == f.DISPOSITION_DUPLICATE
    assert (late.disposition, late.reason) == (f.DISPOSITION_IGNORED, "late")
    assert head(calls.learned(policy), chosen.arm).observations == 1


def test_a_deferred_decision_is_learned_from_once_it_is_activated_by_any_router(
    calls: Calls, other_worker: Calls, policy: str
) -> None:
    waiting, never = [calls.select(policy, defer_activation=True) for _ in range(2)]
    for chosen in (waiting, never):
        calls.feedback.Report(report(policy, chosen, quality=0.5))
    before = calls.learned(policy)

    answers = [activate(each, policy, waiting) for each in (other_worker, calls, other_worker)]
    after = eventually(
        lambda: calls.state(policy), lambda state: head(state, waiting.arm).observations
    )

    assert {head(before, arm).observations for arm in ("a", "b")} == {0}
    assert answers == [False, True, True]
    assert sum(head(after, arm).observations for arm in ("a", "b")) == 1


def test_a_decision_that_does_not_wait_is_active_already(calls: Calls, policy: str) -> None:
    assert activate(calls, policy, calls.select(policy))


def test_one_id_does_not_serve_with_and_without_deferral(calls: Calls, policy: str) -> None:
    decision_id = str(uuid4())
    calls.select(policy, decision_id=decision_id, defer_activation=True)

    with pytest.raises(grpc.RpcError) as refusal:
        calls.select(policy, decision_id=decision_id)

    assert calls.select(policy, decision_id=decision_id, defer_activation=True).replayed
    assert error_of(refusal.value)[1]["ErrorInfo"].reason == "DECISION_ID_REUSED"


def test_settings_that_change_windows_hold_for_later_decisions(
    calls: Calls, new_policy: Callable[..., str]
) -> None:
    policy = new_policy(reward_windows=[window(24, 0.5)])
    old = calls.select(policy, allow_arms=["a"])
    context = c.ContextSettings(vector=c.VectorContext(length=3))
    calls.catalog.UpdatePolicy(
        c.UpdatePolicyRequest(policy=policy, settings=c.PolicySettings(context=context))
    )
    new = calls.select(policy, allow_arms=["b"])
    for chosen in (old, new):
        calls.feedback.Report(report(policy, chosen, quality=0.9))

    state = eventually(
        lambda: calls.state(policy),
        lambda state: head(state, "b").observations and state.pending_outcomes == 0,
    )

    assert head(state, "a").observations == 0


def test_the_client_defers_activates_and_is_told_what_is_late(stack: Stack) -> None:
    settings = PolicySettings(
        context=ContextSettings(ContextSource.NONE),
        reward_windows={Objective.QUALITY: RewardWindow(1e-6)},
    )
    name = f"client-{uuid4()}"
    with RouterClient(stack.target) as client:
        made = client.create_policy(name, settings=settings, arms=[Arm("only")])
        decision = client.select(name, defer_activation=True)
        answers = [client.activate(name, decision_id=str(decision.id)) for _ in range(2)]
        result = client.report(name, decision_id=str(decision.id), arm="only", quality=1.0)
        windows = client.state(name).reward_windows
        with pytest.raises(NotFoundError):
            client.activate(name, decision_id=uuid4())

    assert made.settings.reward_windows == windows == settings.reward_windows
    assert answers == [False, True]
    assert [(it.disposition, it.reason) for it in result.receipts] == [
        (Disposition.IGNORED, "late")
    ]
