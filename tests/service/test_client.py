"""The Python client, blocking and asynchronous, against a running service."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from uuid import UUID

import pytest

from bandit.client import (
    AlreadyExistsError,
    Arm,
    AsyncRouterClient,
    ConflictError,
    DeadlineError,
    Decision,
    InvalidArgumentError,
    NoEligibleArmError,
    NotFoundError,
    PolicyState,
    RouterClient,
    UnavailableError,
    outcome,
    query,
)
from bandit.client.decision_ids import new_decision_id
from bandit.domain.arm import ArmStatus
from bandit.domain.objective import Objective
from bandit.domain.outcome import Disposition
from bandit.domain.policy import ContextSettings, ContextSource, PolicySettings
from bandit.domain.preference import Preference
from bandit.domain.price import Price
from services.supervisor import Stack

NOTHING_KNOWN = PolicySettings(context=ContextSettings(ContextSource.NONE))
ARMS = (Arm("small", price=Price(0.1, 0.4)), Arm("large", price=Price(2.5, 10.0)))

_numbers = count()


@pytest.fixture(scope="module")
def target(stack: Stack) -> str:
    return stack.target


@pytest.fixture(scope="module")
def client(target: str) -> Iterator[RouterClient]:
    with RouterClient(target, source="tests") as client:
        yield client


@pytest.fixture
def policy(client: RouterClient) -> str:
    """A policy of this test's own, without a context, with a small and a large arm."""
    name = f"client-{next(_numbers)}"
    client.create_policy(name, settings=NOTHING_KNOWN, arms=ARMS)
    return name


def learned(
    client: RouterClient, policy: str, wanted: Callable[[PolicyState], bool]
) -> PolicyState:
    """The state as soon as it is as wanted."""
    deadline = time.monotonic() + 10
    while not wanted(state := client.state(policy)):
        assert time.monotonic() < deadline, state
        time.sleep(0.02)
    return state


def test_a_decision_and_its_outcome_are_learned(client: RouterClient, policy: str):
    decision = client.select(policy)
    result = client.report(
        policy, decision_id=str(decision.id), arm=decision.arm, quality=0.7, output_tokens=100
    )
    state = learned(client, policy, lambda state: observed(state, 2))

    assert decision.is_durable
    assert not decision.is_replayed
    assert 0 < decision.propensity <= 1
    assert set(decision.ranked) == {"small", "large"}
    assert [(r.objective, r.disposition) for r in result.receipts] == [
        (Objective.QUALITY, Disposition.ACCEPTED),
        (Objective.COST, Disposition.ACCEPTED),
    ]
    seen = {
        (arm.arm, head.objective) for arm in state.arms for head in arm.heads if head.observations
    }
    assert seen == {(decision.arm, Objective.QUALITY), (decision.arm, Objective.COST)}


def test_a_repeated_selection_is_the_same_decision(client: RouterClient, policy: str):
    decision_id = new_decision_id()

    first = client.select(policy, decision_id=decision_id)
    second = client.select(policy, decision_id=decision_id)

    assert second == replace(first, is_replayed=True)


def test_an_id_used_for_another_request_is_refused(client: RouterClient, policy: str):
    decision = client.select(policy)

    with pytest.raises(InvalidArgumentError) as refusal:
        client.select(policy, decision_id=decision.id, labels={"other": "request"})

    assert refusal.value.reason == "DECISION_ID_REUSED"


def test_a_preview_explains_and_is_no_decision(client: RouterClient, policy: str):
    preview = client.preview(policy, deny_arms=["large"])

    assert (preview.id, preview.is_durable, preview.arm) == (None, False, "small")
    assert {c.arm: c.removed_by for c in preview.candidates} == {"small": "", "large": "deny_arms"}


def test_in_a_batch_one_that_fails_fails_alone(client: RouterClient, policy: str):
    answers = client.batch_select([query(policy), query("nobody's"), query(policy)])
    made = [answer for answer in answers if isinstance(answer, Decision)]
    results = client.batch_report(
        [outcome(policy, decision_id=str(d.id), arm=d.arm, quality=1.0) for d in made]
        + [outcome(policy, decision_id=UUID(int=5), arm="small", quality=1.0)]
    )

    assert [type(answer).__name__ for answer in answers] == [
        "Decision",
        "NotFoundError",
        "Decision",
    ]
    assert len({d.id for d in made}) == 2
    assert [type(r).__name__ for r in results] == ["ReportResult", "ReportResult", "NotFoundError"]


def test_a_block_reports_its_latency_by_itself(client: RouterClient, policy: str):
    with client.decision(policy) as d:
        time.sleep(0.2)
    d.report(quality=0.8)
    state = learned(client, policy, lambda state: observed(state, 2))

    heads = {h.objective: h for a in state.arms if a.arm == d.arm for h in a.heads}
    assert d.unreported is None
    assert heads[Objective.LATENCY].observations == 1
    assert heads[Objective.QUALITY].observations == 1


def test_an_exception_in_a_block_is_the_arms_failure_and_goes_on(client: RouterClient, policy: str):
    with pytest.raises(ZeroDivisionError), client.decision(policy) as d:
        _ = 1 / 0
    repeated = client.report(policy, decision_id=d.id, arm=d.arm, quality=1.0)
    state = learned(client, policy, lambda state: observed(state, 1))

    assert repeated.receipts[0].disposition is Disposition.DUPLICATE  # the failure was quality 0
    assert {h.objective for a in state.arms for h in a.heads if h.observations} == {
        Objective.QUALITY
    }


def test_after_a_fallback_only_the_chosen_arms_failure_is_learned(
    client: RouterClient, policy: str
):
    with client.decision(policy) as d:
        d.use(d.decision.ranked[-1] if d.decision.ranked[0] == d.arm else d.decision.ranked[0])
        result = d.report(quality=1.0)
    state = learned(client, policy, lambda state: observed(state, 1))

    assert [(r.disposition, r.reason) for r in result.receipts] == [
        (Disposition.IGNORED, "other_arm")
    ]
    assert {a.arm: a.heads[0].observations for a in state.arms} == {
        d.decision.arm: 1,
        d.arm: 0,
    }


def test_an_interrupted_block_reports_nothing(client: RouterClient, policy: str):
    with pytest.raises(KeyboardInterrupt), client.decision(policy) as d:
        raise KeyboardInterrupt
    first = client.report(policy, decision_id=d.id, arm=d.arm, quality=1.0, latency_ms=5.0)

    assert {r.disposition for r in first.receipts} == {Disposition.ACCEPTED}


def test_a_decision_that_may_still_come_is_waited_for(client: RouterClient, policy: str):
    started = time.monotonic()

    with pytest.raises(NotFoundError) as refusal:
        client.within(1.0).report(policy, decision_id=new_decision_id(), arm="small", quality=1.0)

    assert refusal.value.retry_after_s is not None
    assert 0.5 < time.monotonic() - started < 1.5


def test_the_catalog_can_be_read_and_changed(client: RouterClient, policy: str):
    client.add_arm(policy, Arm("medium", status=ArmStatus.SHADOW, context_window_tokens=100))
    client.set_arm_status(policy, arm="medium", status=ArmStatus.ACTIVE)
    client.update_arm(policy, arm="medium", context_window_tokens=200)
    client.set_price(policy, arm="medium", price=Price(1.0, 2.0, 0.5))
    client.remove_arm(policy, arm="large")
    found = client.get_policy(policy)
    changed = client.update_policy(
        policy,
        replace(found.settings, default_preference=Preference(quality=1.0), temperature=0.5),
        expected_policy_version=found.policy_version,
    )

    assert [(arm.name, arm.status) for arm in found.arms] == [
        ("small", ArmStatus.ACTIVE),
        ("large", ArmStatus.RETIRED),
        ("medium", ArmStatus.ACTIVE),
    ]
    assert found.arms[2].price == Price(1.0, 2.0, 0.5)
    assert found.arms[2].context_window_tokens == 200
    assert changed.settings.temperature == 0.5
    with pytest.raises(ConflictError):
        client.update_policy(policy, found.settings, expected_policy_version=1)
    with pytest.raises(AlreadyExistsError):
        client.create_policy(policy)
    assert policy in [found.name for found in client.list_policies()]
    assert client.archive_policy(policy).is_archived
    assert policy not in [found.name for found in client.list_policies()]


def test_what_stood_in_the_way_is_told(client: RouterClient, policy: str):
    with pytest.raises(NoEligibleArmError) as refusal:
        client.select(policy, deny_arms=["small", "large"])
    with pytest.raises(InvalidArgumentError) as wrong:
        client.select(policy, min_quality=2.0)

    told = {p.subject: p.description for p in refusal.value.preconditions}
    assert told == {"small": "deny_arms", "large": "deny_arms"}
    assert [v.field for v in wrong.value.field_violations] == ["min_quality"]


def test_outcomes_of_two_sources_are_two_outcomes(client: RouterClient, target: str, policy: str):
    decision = client.select(policy)
    with RouterClient(target, source="others") as other:
        results = [
            each.report(policy, decision_id=decision.id or "", arm=decision.arm, quality=0.5)
            for each in (client, other, other)
        ]

    assert [r.receipts[0].disposition for r in results] == [
        Disposition.ACCEPTED,
        Disposition.ACCEPTED,
        Disposition.DUPLICATE,
    ]


def test_a_service_that_is_not_there_is_unavailable_within_the_time_allowed():
    started = time.monotonic()

    with (
        RouterClient("127.0.0.1:1", timeout_s=1.0) as client,
        pytest.raises((UnavailableError, DeadlineError)),
    ):
        client.select("chat")

    assert time.monotonic() - started < 2


def test_the_asynchronous_client_does_the_same(target: str, policy: str):
    async def story() -> None:
        async with AsyncRouterClient(target, source="async") as client:
            async with client.decision(policy) as d:
                await asyncio.sleep(0.01)
            result = await d.report(quality=0.5)
            with pytest.raises(ValueError, match="broken"):
                async with client.decision(policy) as failed:
                    raise ValueError("broken")
            repeated = await client.report(
                policy, decision_id=failed.id, arm=failed.arm, quality=1.0
            )
            many = await asyncio.gather(*(client.select(policy) for _ in range(20)))
            with pytest.raises(NotFoundError):
                await client.select("nobody's")

            assert d.unreported is None
            assert result.receipts[0].disposition is Disposition.ACCEPTED
            assert repeated.receipts[0].disposition is Disposition.DUPLICATE
            assert len({decision.id for decision in many}) == 20

    asyncio.run(story())


def test_a_cancelled_block_reports_nothing(target: str, policy: str):
    async def story() -> None:
        async with AsyncRouterClient(target) as client:
            opened = []

            async def answer() -> None:
                async with client.decision(policy) as d:
                    opened.append(d)
                    await asyncio.sleep(60)

            task = asyncio.create_task(answer())
            while not opened:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            first = await opened[0].report(quality=1.0, latency_ms=5.0)

            assert {r.disposition for r in first.receipts} == {Disposition.ACCEPTED}

    asyncio.run(story())


def observed(state: PolicyState, number: int) -> bool:
    """Whether so many outcomes are served."""
    return sum(head.observations for arm in state.arms for head in arm.heads) == number
