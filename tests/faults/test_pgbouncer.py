"""Behind a pooler that gives each transaction whatever session is free."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

import grpc
import psycopg
import pytest

from bandit.store.postgres.embedded import EmbeddedPostgres
from bandit.wire import catalog_pb2 as c
from bandit.wire import feedback_pb2 as f
from bandit.wire import router_pb2 as r
from migrations.upgrade import upgrade
from services.supervisor import ChildProcess
from tests.faults.outages import at_once
from tests.faults.pgbouncer import pgbouncer
from tests.faults.proxy import Proxy, target_of
from tests.service.calls import Calls, eventually, router_process

pytestmark = pytest.mark.timeout(400)
SESSIONS = 3  # fewer than the connections of the three processes
START_S = 150.0
VECTOR = r.Vector(values=[1, 2, 3])


@dataclass(frozen=True)
class World:
    postgres: EmbeddedPostgres
    proxy: Proxy  # between the pooler and the server
    one: Calls
    other: Calls


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if not request.config.getoption("--long-faults", default=True):
        pytest.skip("a pooler is fetched and tried by `make faults`")
    with (
        EmbeddedPostgres.start() as postgres,
        Proxy(target_of(postgres.url)) as proxy,
        pgbouncer(postgres.url, proxy.port, sessions=SESSIONS) as url,
    ):
        upgrade(url, today=datetime.now(UTC).date())
        learner = ChildProcess("learner")
        try:
            learner.order(json.dumps({"database_url": url, "log_level": "error"}).encode())
            with router_process(url) as one, router_process(url) as other:
                ports = [each.readiness(within_s=START_S)["port"] for each in (one, other)]
                channels = [grpc.insecure_channel(f"127.0.0.1:{port}") for port in ports]
                yield World(postgres, proxy, *(Calls(channel) for channel in channels))
                for channel in channels:
                    channel.close()
        finally:
            learner.stop(within_s=10.0)


def new_policy(world: World, **settings: object) -> str:
    name = f"policy-{uuid4()}"
    context = c.ContextSettings(vector=c.VectorContext(length=3))
    price = c.Price(input_usd_per_million=1.0, output_usd_per_million=2.0)
    world.one.catalog.CreatePolicy(
        c.CreatePolicyRequest(
            name=name,
            settings=c.PolicySettings(context=context, **settings),
            arms=[c.Arm(name=arm, price=price) for arm in ("a", "b")],
        )
    )
    return name


def report(calls: Calls, policy: str, decision: r.SelectResponse) -> list[int]:
    request = f.ReportRequest(
        policy=policy, decision_id=decision.decision_id, arm=decision.arm, quality=0.5
    )
    return [head.disposition for head in calls.feedback.Report(request).heads]


def test_many_callers_decide_report_and_learn(world: World) -> None:
    """The other router hears of it by polling: what is told at a commit goes to nobody."""
    policy = new_policy(world)
    batch = r.BatchSelectRequest(
        requests=[r.SelectRequest(policy=policy, vector=VECTOR) for _ in range(50)]
    )

    answers = at_once([lambda: world.one.router.BatchSelect(batch)] * 4)
    answers += at_once([lambda: world.other.router.BatchSelect(batch)] * 4)
    decisions = [item.response for answer in answers for item in answer.items]
    dispositions = at_once(
        [
            lambda calls=calls, part=part: [report(calls, policy, d) for d in part]
            for calls, part in ((world.other, decisions[:200]), (world.one, decisions[200:]))
        ]
    )

    assert len({decision.decision_id for decision in decisions}) == 400
    assert dispositions == [[[f.DISPOSITION_ACCEPTED]] * 200] * 2
    state = eventually(
        lambda: world.other.learned(policy),
        lambda state: sum(arm.heads[0].observations for arm in state.arms) == 400,
        within_s=20,
    )
    assert state.pending_outcomes == 0


def test_a_change_at_one_router_reaches_the_other(world: World) -> None:
    policy = new_policy(world)
    assert world.other.select(policy).durable

    world.one.catalog.SetArmStatus(
        c.SetArmStatusRequest(policy=policy, arm="a", status=c.ARM_STATUS_DRAINING)
    )

    eventually(
        lambda: world.other.select(policy).ranked, lambda ranked: ranked == ["b"], within_s=2
    )


def test_an_id_is_decided_once_whichever_session_it_meets(world: World) -> None:
    policy = new_policy(world)
    ids = [str(uuid4()) for _ in range(40)]

    answers = at_once(
        [
            lambda id_=id_, calls=calls: calls.select(policy, decision_id=id_)
            for id_ in ids
            for calls in (world.one, world.other)
        ]
    )

    first, second = answers[::2], answers[1::2]
    assert [one.arm for one in first] == [other.arm for other in second]
    assert all(one.replayed != other.replayed for one, other in zip(first, second, strict=True))


def test_a_limit_is_kept_between_the_routers(world: World) -> None:
    policy = new_policy(world)
    limit_usd = 0.02
    world.one.catalog.SetBudget(
        c.SetBudgetRequest(policy=policy, budget=c.Budget(limit_usd=limit_usd))
    )
    refused = threading.Event()

    def spend(calls: Calls) -> None:
        for _ in range(60):
            try:
                calls.select(policy, input_tokens=500, max_output_tokens=500)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise
                refused.set()

    results = at_once([lambda: spend(world.one), lambda: spend(world.other)])

    assert results == [None, None]
    assert refused.is_set()
    with psycopg.connect(world.postgres.url) as connection:
        [(reserved_usd,)] = connection.execute(
            "select sum(budget_reserved_usd) from decision"
            " join policy on policy.id = policy_id where policy.name = %s",
            [policy],
        ).fetchall()
    assert 0 < reserved_usd <= limit_usd * (1 + 1e-9)


def test_the_pooler_may_lose_its_server(world: World) -> None:
    policy = new_policy(world)
    before = world.one.select(policy)
    world.proxy.mode = "refuse"
    try:
        waiting = [world.one.select(policy) for _ in range(20)]
    finally:
        world.proxy.mode = "pass"

    assert not waiting[-1].durable
    eventually(lambda: world.one.select(policy).durable, bool, within_s=20)
    for decision in (before, *waiting):
        assert report(world.other, policy, decision) == [f.DISPOSITION_ACCEPTED]
