"""Two routers that share nothing but the database see the same, within a second."""

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from bandit.wire import catalog_pb2 as c
from bandit.wire import feedback_pb2 as f
from bandit.wire import router_pb2 as r
from tests.service.calls import Calls, eventually

WITHIN_S = 1.0
ROUNDS = 5


def seconds_until(ask: Callable[[], Any], is_fine: Callable[[Any], bool]) -> float:
    started = time.monotonic()
    eventually(ask, is_fine)
    return time.monotonic() - started


def reported(calls: Calls, policy: str, decision: r.SelectResponse) -> list[int]:
    request = f.ReportRequest(
        policy=policy, decision_id=decision.decision_id, arm=decision.arm, quality=0.5
    )
    return [head.disposition for head in calls.feedback.Report(request).heads]


def observations(calls: Calls, policy: str) -> int:
    return sum(arm.heads[0].observations for arm in calls.state(policy).arms)


def test_an_outcome_that_one_has_acknowledged_is_in_the_state_that_the_other_serves(
    calls: Calls, other_worker: Calls, policy: str
) -> None:
    other_worker.select(policy)
    took = []
    for outcomes in range(1, ROUNDS + 1):
        decision = calls.select(policy)
        assert reported(calls, policy, decision) == [f.DISPOSITION_ACCEPTED]
        took.append(
            seconds_until(
                lambda: observations(other_worker, policy),
                lambda seen, expected=outcomes: seen == expected,
            )
        )

    print(f"\nslowest {max(took):.3f} s")
    assert max(took) < WITHIN_S


def test_a_decision_of_one_may_be_reported_to_the_other_at_once(
    calls: Calls, other_worker: Calls, policy: str
) -> None:
    for here, there in [(calls, other_worker), (other_worker, calls)] * 20:
        decision = here.select(policy)
        assert reported(there, policy, decision) == [f.DISPOSITION_ACCEPTED]
        assert reported(here, policy, decision) == [f.DISPOSITION_DUPLICATE]


def test_an_edit_of_a_policy_reaches_the_other(
    calls: Calls, other_worker: Calls, policy: str
) -> None:
    took = []
    for number in range(ROUNDS):
        name = f"arm-{number}"
        other_worker.select(policy)
        calls.catalog.AddArm(
            c.AddArmRequest(policy=policy, arm=c.Arm(name=name, status=c.ARM_STATUS_ACTIVE))
        )
        took.append(
            seconds_until(
                lambda: other_worker.select(policy).ranked,
                lambda ranked, name=name: name in ranked,
            )
        )

    print(f"\nslowest {max(took):.3f} s")
    assert max(took) < WITHIN_S


def test_an_id_answered_by_one_is_replayed_by_the_other(
    calls: Calls, other_worker: Calls, policy: str
) -> None:
    decision_id = str(uuid4())
    first = calls.select(policy, decision_id=decision_id, explain=True)

    again = other_worker.select(policy, decision_id=decision_id, explain=True)

    assert again.replayed
    again.replayed = False
    assert again == first
