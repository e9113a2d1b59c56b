"""Budgets over real gRPC: set, asked for, spent by several routers, used up and free again."""

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import grpc
import pytest

from bandit.client import AsyncRouterClient, BudgetStatus, LimitExceededError, RouterClient
from bandit.domain.arm import ArmStatus
from bandit.domain.budget import Budget
from bandit.wire import catalog_pb2 as c
from bandit.wire import feedback_pb2 as f
from bandit.wire import router_pb2 as r
from services.supervisor import Stack
from tests.service.calls import Calls, error_of, eventually, unpacked

TARGET = 0.0005
# At the prices of `new_policy`, 1 and 2 USD per million tokens, a call of these may cost 0.002 USD.
A_CALL = {"input_tokens": 1000, "max_output_tokens": 500}
A_CALL_USD = 0.002


def set_budget(calls: Calls, policy: str, **fields: float) -> c.Policy:
    request = c.SetBudgetRequest(policy=policy, budget=c.Budget(**fields))
    return calls.catalog.SetBudget(request).policy


def status(calls: Calls, policy: str) -> c.BudgetStatus:
    return calls.catalog.GetBudget(c.GetBudgetRequest(policy=policy)).status


def has_budget(calls: Calls, policy: str) -> bool:
    return calls.catalog.GetBudget(c.GetBudgetRequest(policy=policy)).HasField("status")


def is_served(calls: Calls, policy: str) -> bool:
    """Whether there is room for one more call."""
    try:
        calls.select(policy, **A_CALL)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise
        return False
    return True


def test_a_budget_is_set_told_and_taken_away(calls: Calls, policy: str) -> None:
    before = calls.catalog.GetPolicy(c.GetPolicyRequest(policy=policy)).policy
    assert not before.HasField("budget")
    assert not has_budget(calls, policy)

    changed = set_budget(calls, policy, target_usd_per_decision=TARGET, limit_usd=25.0)

    assert changed.policy_version == before.policy_version + 1
    whole = c.Budget(target_usd_per_decision=TARGET, limit_usd=25.0, window_hours=24.0)
    assert changed.budget == whole
    told = status(calls, policy)
    assert told.budget == whole
    assert (told.decisions, told.spent_usd, told.balance) == (0, 0.0, 0.0)
    assert not told.HasField("utilisation")
    assert told.window.limit_usd == 25.0
    assert 0 <= time.time() - told.window.start.seconds < 24 * 3600
    assert calls.state(policy).budget == told

    cleared = calls.catalog.SetBudget(c.SetBudgetRequest(policy=policy)).policy
    assert not cleared.HasField("budget")
    assert not has_budget(calls, policy)
    assert not calls.select(policy).HasField("budget")


def test_a_decision_under_a_target_carries_its_charge_and_so_does_its_replay(
    calls: Calls, policy: str
) -> None:
    set_budget(calls, policy, target_usd_per_decision=TARGET)
    decision_id = str(uuid4())

    first = calls.select(policy, decision_id=decision_id, explain=True)
    for _ in range(3):
        last = calls.select(policy)
    again = calls.select(policy, decision_id=decision_id)

    assert first.budget.price > 0
    assert first.budget.expected_usd == pytest.approx(first.predicted.cost_usd.mean)
    assert not first.budget.HasField("utilisation")
    assert not first.budget.HasField("reserved_usd")
    assert last.budget.utilisation > 0
    assert last.budget.balance != 0
    assert again.replayed
    assert again.budget == first.budget


def test_under_a_target_quality_alone_is_wanted_less_the_price_of_what_it_costs(
    calls: Calls, policy: str
) -> None:
    """Whatever the default preference says."""
    set_budget(calls, policy, target_usd_per_decision=TARGET)

    chosen = calls.select(policy, explain=True)

    assert chosen.budget.price > 0
    for candidate in chosen.candidates:
        predicted = candidate.predicted
        charged = chosen.budget.price * predicted.cost_usd.mean
        assert candidate.utility == pytest.approx(predicted.quality.mean - charged)


def test_what_was_decided_is_booked_once_and_the_outcome_replaces_it(
    calls: Calls, policy: str
) -> None:
    set_budget(calls, policy, target_usd_per_decision=TARGET)
    ids = [str(uuid4()) for _ in range(4)]
    made = [calls.select(policy, decision_id=one) for one in (*ids, ids[0], ids[1])][:4]

    booked = eventually(lambda: status(calls, policy), lambda told: told.decisions == 4)
    expected = sum(decision.budget.expected_usd for decision in made)
    assert booked.spent_usd == pytest.approx(expected)
    assert booked.utilisation == pytest.approx(expected / (4 * TARGET))

    for decision in made:
        report = f.ReportRequest(
            policy=policy, decision_id=decision.decision_id, arm=decision.arm, cost_usd=0.001
        )
        calls.feedback.Report(report)
    real = eventually(
        lambda: status(calls, policy), lambda told: abs(told.spent_usd - 0.004) < 1e-12
    )

    assert real.decisions == 4
    assert real.utilisation == pytest.approx(0.001 / TARGET)
    assert real.overshoot_usd == pytest.approx(0.004 - 4 * TARGET)
    assert real.balance == pytest.approx(4 * TARGET - 0.004)


def test_two_routers_share_one_account(calls: Calls, other_worker: Calls, policy: str) -> None:
    set_budget(calls, policy, target_usd_per_decision=TARGET)
    eventually(lambda: has_budget(other_worker, policy), bool)

    for worker in (calls, other_worker, calls, other_worker, other_worker):
        worker.select(policy)

    told = [
        eventually(lambda one=one: status(one, policy), lambda told: told.decisions == 5)
        for one in (calls, other_worker)
    ]
    assert told[0].spent_usd == told[1].spent_usd > 0
    assert told[0].balance == told[1].balance


def test_two_routers_take_no_more_than_one_limit(
    calls: Calls, other_worker: Calls, policy: str
) -> None:
    limit_usd = 7.5 * A_CALL_USD
    set_budget(calls, policy, limit_usd=limit_usd)
    eventually(lambda: has_budget(other_worker, policy), bool)

    served = sum(is_served(one, policy) for _ in range(8) for one in (calls, other_worker))

    # What one of them holds and cannot use is less than a call.
    assert 6 <= served <= 7
    assert status(calls, policy).window.taken_usd <= limit_usd


def test_a_limit_that_is_used_up_is_told_and_a_raised_one_serves_again(
    calls: Calls, policy: str
) -> None:
    set_budget(calls, policy, limit_usd=1.5 * A_CALL_USD)
    decision_id = str(uuid4())
    first = calls.select(policy, decision_id=decision_id, **A_CALL)
    assert first.budget.reserved_usd == pytest.approx(A_CALL_USD)
    assert first.budget.price == 0

    with pytest.raises(grpc.RpcError) as raised:
        calls.select(policy, **A_CALL)

    code, details = error_of(raised.value)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details["ErrorInfo"].reason == "BUDGET_EXHAUSTED"
    assert details["RetryInfo"].retry_delay.ToTimedelta().total_seconds() > 0
    violations = {v.subject: v.description for v in details["QuotaFailure"].violations}
    assert violations["a"] == violations["b"] == "budget_limit"
    assert "0.002 USD" in violations["budget.limit_usd"]
    again = calls.select(policy, decision_id=decision_id, **A_CALL)
    assert again.replayed
    assert again.budget == first.budget

    set_budget(calls, policy, limit_usd=2.5 * A_CALL_USD)

    assert eventually(lambda: is_served(calls, policy), bool)
    assert not is_served(calls, policy)


def test_a_preview_shows_what_a_limit_would_reserve_and_takes_nothing_of_it(
    calls: Calls, policy: str
) -> None:
    set_budget(calls, policy, limit_usd=1.5 * A_CALL_USD)
    request = r.SelectRequest(policy=policy, vector={"values": [1.0, 2.0, 3.0]}, **A_CALL)

    shown = [calls.router.Preview(r.PreviewRequest(request=request)) for _ in range(3)]

    for preview in shown:
        assert preview.response.budget.reserved_usd == pytest.approx(A_CALL_USD)
    told = status(calls, policy)
    assert (told.decisions, told.window.taken_usd) == (0, 0.0)


def test_in_a_batch_a_limit_stops_what_is_beyond_it_alone(calls: Calls, policy: str) -> None:
    set_budget(calls, policy, limit_usd=2.5 * A_CALL_USD)
    request = r.SelectRequest(policy=policy, vector={"values": [1.0, 2.0, 3.0]}, **A_CALL)

    items = calls.router.BatchSelect(r.BatchSelectRequest(requests=[request] * 4)).items

    assert [item.WhichOneof("result") for item in items] == ["response"] * 2 + ["error"] * 2
    assert unpacked(items[3].error)["ErrorInfo"].reason == "BUDGET_EXHAUSTED"


def test_constraints_that_leave_no_arm_are_no_fault_of_the_budget(
    calls: Calls, policy: str
) -> None:
    set_budget(calls, policy, limit_usd=0.5 * A_CALL_USD)

    with pytest.raises(grpc.RpcError) as raised:
        calls.select(policy, deny_arms=["a", "b"], **A_CALL)

    assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_a_new_window_serves_again(calls: Calls, policy: str) -> None:
    ends_at = time.time() + 4.0
    windows = ends_at // 3600
    set_budget(calls, policy, limit_usd=1.5 * A_CALL_USD, window_hours=ends_at / windows / 3600.0)
    assert is_served(calls, policy)
    assert not is_served(calls, policy)
    assert time.time() < ends_at
    start = status(calls, policy).window.start

    assert eventually(lambda: is_served(calls, policy), bool)

    assert time.time() >= ends_at - 0.1
    assert status(calls, policy).window.start.ToSeconds() > start.ToSeconds()


def test_a_call_that_costs_less_than_reserved_makes_room_again(calls: Calls, policy: str) -> None:
    set_budget(calls, policy, limit_usd=1.5 * A_CALL_USD)
    chosen = calls.select(policy, **A_CALL)
    assert not is_served(calls, policy)

    report = f.ReportRequest(
        policy=policy, decision_id=chosen.decision_id, arm=chosen.arm, cost_usd=0.0005
    )
    calls.feedback.Report(report)

    assert eventually(lambda: is_served(calls, policy), bool)


def test_trials_of_a_new_arm_are_told_and_end_with_their_quota(
    calls: Calls, new_policy: Callable[..., str]
) -> None:
    policy = new_policy(explore_quota=8)
    price = c.Price(input_usd_per_million=1.0, output_usd_per_million=2.0)
    arm = c.Arm(name="new", price=price, explore_limit_usd=0.5)
    changed = calls.catalog.AddArm(c.AddArmRequest(policy=policy, arm=arm)).policy
    assert changed.settings.explore_quota == 8
    assert changed.arms[2].explore_limit_usd == 0.5

    def trials() -> Any:
        return calls.state(policy).arms[2]

    begun = eventually(trials, lambda arm: arm.exploring.taken > 0)
    assert (begun.exploring.quota, begun.exploring.limit_usd) == (8, 0.5)
    assert 0 < begun.exploring.taken_usd <= 0.5
    assert not calls.state(policy).arms[0].HasField("exploring")

    used = 0
    while trials().exploring.taken < 8:
        used += calls.select(policy).arm == "new"
    later = [calls.select(policy, explain=True) for _ in range(60)]

    # All are taken, though some may be held by another router on this database, two at most.
    assert 6 <= used + sum(decision.arm == "new" for decision in later) <= 8
    assert removed(later[-1], "new") == "explore_quota"
    assert trials().exploring.taken == 8


def removed(decision: r.SelectResponse, arm: str) -> str:
    """The filter that removed an arm; empty: none."""
    (candidate,) = [one for one in decision.candidates if one.arm == arm]
    return str(candidate.removed_by)


async def test_both_clients_set_and_read_budgets(stack: Stack, policy: str) -> None:
    budget = Budget(target_usd=TARGET, limit_usd=0.001)
    async with AsyncRouterClient(stack.target) as asynchronous:
        with RouterClient(stack.target) as blocking:
            assert blocking.budget(policy) is None
            assert blocking.set_budget(policy, budget).budget == budget
            read = await asynchronous.budget(policy)
            assert isinstance(read, BudgetStatus)
            assert read.budget == budget
            assert read.window is not None
            assert read == blocking.budget(policy) == blocking.state(policy).budget

            with pytest.raises(LimitExceededError) as raised:
                await asynchronous.select(policy, vector=[1.0, 2.0, 3.0], **A_CALL)
            assert raised.value.reason == "BUDGET_EXHAUSTED"
            assert {v.subject for v in raised.value.quota_violations} >= {"a", "b"}
            assert raised.value.retry_after_s is not None

            await asynchronous.set_budget(policy, Budget(target_usd=TARGET))
            decision = blocking.select(policy, vector=[1.0, 2.0, 3.0])
            assert decision.budget is not None
            assert decision.budget.price > 0
            assert decision.budget.reserved_usd is None
            assert (await asynchronous.set_budget(policy, None)).budget is None
            assert all(
                arm.status is ArmStatus.ACTIVE and arm.exploring is None
                for arm in blocking.state(policy).arms
            )
