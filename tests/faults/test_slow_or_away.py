"""
A router and a learner that are never restarted, while Postgres is slow or away in every way.

Real processes, a real Postgres, and between them a network that does as it is told.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import grpc
import psycopg
import pytest

from bandit.store.postgres.embedded import EmbeddedPostgres
from bandit.wire import catalog_pb2 as c
from bandit.wire import feedback_pb2 as f
from bandit.wire import router_pb2 as r
from migrations.upgrade import upgrade
from services.supervisor import ChildProcess
from tests.faults.form import Form
from tests.faults.outages import OUTAGES, Outage, at_once
from tests.faults.proxy import Proxy, proxied, target_of
from tests.service.calls import Calls, error_of, eventually, running_router

GIVEN_UP_S, NOTICED_S = 10.0, 2.0
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
_numbers = count()


@dataclass(frozen=True)
class World:
    postgres: EmbeddedPostgres
    proxy: Proxy
    calls: Calls

    def new_policy(self, when_offline: Any = c.WHEN_OFFLINE_SERVE) -> str:
        name = f"policy-{next(_numbers)}"
        settings = c.PolicySettings(
            context=c.ContextSettings(vector=c.VectorContext(length=3)),
            algorithm=c.ALGORITHM_UNIFORM,
            when_offline=when_offline,
        )
        arms = [c.Arm(name=arm) for arm in ("a", "b", "c")]
        request = c.CreatePolicyRequest(name=name, settings=settings, arms=arms)
        self.calls.catalog.CreatePolicy(request)
        return name

    def report(self, policy: str, decision: r.SelectResponse) -> f.ReportResponse:
        request = f.ReportRequest(
            policy=policy, decision_id=decision.decision_id, arm=decision.arm, quality=0.5
        )
        return self.calls.feedback.Report(request, timeout=10)

    def stored(self, policy: str) -> dict[str, tuple[float, int]]:
        """The propensity and the transaction of each decision, in the order they were made."""
        with psycopg.connect(self.postgres.url) as connection:
            rows = connection.execute(
                "select decision.id, propensity, decision.xmin::text::bigint"
                " from decision join policy on policy.id = policy_id"
                " where policy.name = %s order by at, decision.id",
                [policy],
            )
            return {str(id_): (propensity, xmin) for id_, propensity, xmin in rows}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with EmbeddedPostgres.start() as postgres:
        upgrade(postgres.url, today=datetime.now(UTC).date())
        with Proxy(target_of(postgres.url)) as proxy:
            url = proxied(postgres.url, proxy)
            learner = ChildProcess("learner")
            try:
                learner.order(json.dumps({"database_url": url, "log_level": "error"}).encode())
                with (
                    running_router(url) as port,
                    grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
                ):
                    yield World(postgres, proxy, Calls(channel))
            finally:
                learner.stop(within_s=10.0)


def timed(call: Callable[[], Any]) -> Callable[[], tuple[float, Any]]:
    def made() -> tuple[float, Any]:
        started = time.monotonic()
        try:
            result = call()
        except grpc.RpcError as error:
            result = error
        return time.monotonic() - started, result

    return made


def assert_to_be_retried(call: Callable[[], object]) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        call()
    code, details = error_of(raised.value)
    assert code is UNAVAILABLE, raised.value.details()
    assert details["RetryInfo"].retry_delay.ToTimedelta().total_seconds() > 0


@pytest.mark.parametrize("outage", OUTAGES, ids=lambda outage: outage.name)
def test_decisions_go_on_and_are_stored_in_order_exactly_once(
    world: World, form: Form, outage: Outage
) -> None:
    """In one batch, at the same moment, and one after the other."""
    policy = world.new_policy()
    before = world.calls.select(policy)
    assert before.durable
    vector = r.Vector(values=[1, 2, 3])
    batch = r.BatchSelectRequest(
        requests=[r.SelectRequest(policy=policy, vector=vector) for _ in range(20)]
    )
    made: list[r.SelectResponse] = []
    took: list[float] = []

    with outage.during(world.postgres, world.proxy):
        for took_s, answer in at_once([timed(lambda: world.calls.select(policy))] * 8):
            took.append(took_s)
            made.append(answer)
        took_s, answers = timed(lambda: world.calls.router.BatchSelect(batch))()
        took.append(took_s)
        made += [item.response for item in answers.items]
        for _ in range(100):
            took_s, answer = timed(lambda: world.calls.select(policy))()
            took.append(took_s)
            made.append(answer)
        slowest = max(took)
        print(
            f"\n{outage.name}: {slowest:.3f} s for call {took.index(slowest)}, last {took[-1]:.4f}"
        )
        waiting = [decision for decision in made if not decision.durable]
        assert len(waiting) > 50
        again = world.calls.select(policy, decision_id=waiting[-1].decision_id)
        assert again.replayed
        assert again.arm == waiting[-1].arm
        assert_to_be_retried(lambda: world.report(policy, waiting[-1]))
        if outage.hits_all:
            assert_to_be_retried(lambda: world.report(policy, before))

    assert max(took) < form.select_within_s
    stored = eventually(
        lambda: world.stored(policy), lambda rows: len(rows) > len(made), within_s=20
    )
    assert {d.decision_id: d.propensity for d in [before, *made]} == {
        id_: propensity for id_, (propensity, _) in stored.items()
    }
    transactions = [xmin for _, xmin in stored.values()]
    assert transactions == sorted(transactions)


@pytest.mark.parametrize("outage", OUTAGES, ids=lambda outage: outage.name)
def test_all_recovers_without_a_restart(world: World, outage: Outage) -> None:
    """After an outage long enough for every connection to be lost or given up."""
    policy = world.new_policy()

    with outage.during(world.postgres, world.proxy):
        waiting = world.calls.select(policy)
        time.sleep(GIVEN_UP_S if outage.is_silent else NOTICED_S)

    eventually(lambda: world.calls.select(policy).durable, bool, within_s=10)
    response = eventually(
        lambda: timed(lambda: world.report(policy, waiting))()[1],
        lambda answer: isinstance(answer, f.ReportResponse),
    )
    assert [head.disposition for head in response.heads] == [f.DISPOSITION_ACCEPTED]
    learned = eventually(
        lambda: timed(lambda: world.calls.learned(policy))()[1],
        lambda state: not isinstance(state, grpc.RpcError),
        within_s=20,
    )
    arms = {arm.arm: arm for arm in learned.arms}
    assert arms[waiting.arm].heads[0].observations == 1
    world.calls.catalog.AddArm(c.AddArmRequest(policy=policy, arm=c.Arm(name="new")))


def test_a_policy_may_refuse_instead(world: World, form: Form) -> None:
    policy = world.new_policy(c.WHEN_OFFLINE_REFUSE)
    mine = str(uuid4())
    assert world.calls.select(policy).durable

    world.proxy.mode = "stall"
    try:
        calls = [timed(lambda: world.calls.select(policy, decision_id=mine))]
        calls += [timed(lambda: world.calls.select(policy))] * 7
        first = at_once(calls)
        later = [timed(lambda: world.calls.select(policy))() for _ in range(20)]
    finally:
        world.proxy.mode = "pass"

    for took_s, error in [*first, *later]:
        code, details = error_of(error)
        assert code is UNAVAILABLE
        assert details["RetryInfo"].retry_delay.ToTimedelta().total_seconds() > 0
        assert took_s < form.select_within_s
    assert max(took_s for took_s, _ in later) < form.select_within_s / 5
    found = eventually(
        lambda: timed(lambda: world.calls.select(policy, decision_id=mine))()[1],
        lambda answer: isinstance(answer, r.SelectResponse) and answer.durable,
    )
    assert UUID(found.decision_id) == UUID(mine)
    assert found.replayed


def test_a_limit_is_kept_to_with_what_is_in_hand(world: World, form: Form) -> None:
    """A lease is a part of the limit: calls go on until it is used up, whatever is left of it."""
    limit_usd = 0.02
    policy = world.new_policy()
    price = c.Price(input_usd_per_million=1.0, output_usd_per_million=2.0)
    for arm in ("a", "b", "c"):
        world.calls.catalog.SetPrice(c.SetPriceRequest(policy=policy, arm=arm, price=price))
    budget = c.Budget(limit_usd=limit_usd)
    world.calls.catalog.SetBudget(c.SetBudgetRequest(policy=policy, budget=budget))

    def spend() -> Any:
        return timed(lambda: world.calls.select(policy, input_tokens=100, max_output_tokens=100))()

    _, first = spend()
    assert first.durable
    world.proxy.mode = "stall"
    try:
        took, answers = zip(*(spend() for _ in range(30)), strict=True)
    finally:
        world.proxy.mode = "pass"

    served = [answer for answer in answers if isinstance(answer, r.SelectResponse)]
    refused = answers[len(served) :]
    assert served
    assert refused
    assert {error.code() for error in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert max(took) < form.select_within_s
    assert 0.0003 * (1 + len(served)) <= limit_usd
    eventually(lambda: spend()[1], lambda answer: isinstance(answer, r.SelectResponse))


def test_an_unknown_policy_is_not_looked_for_at_length(world: World, form: Form) -> None:
    world.proxy.mode = "stall"
    try:
        took_s, error = timed(lambda: world.calls.select("nobody made it"))()
    finally:
        world.proxy.mode = "pass"

    assert error.code() is UNAVAILABLE
    assert took_s < form.select_within_s
