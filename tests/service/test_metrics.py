"""What is counted, against what was called and what the database holds."""

import os
import signal
import subprocess
import sys
import urllib.error
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import grpc
import psycopg
import pytest

from bandit.wire import catalog_pb2 as c
from bandit.wire import feedback_pb2 as f
from bandit.wire import router_pb2 as r
from services.settings import Settings
from services.supervisor import Stack, StackStartFailed
from services.telemetry import definitions
from services.telemetry.sharing import SharedFolder
from tests.faults.proxy import Proxy, proxied, target_of
from tests.service.calls import Calls, eventually, learner_process, router_process
from tests.service.scraping import PREFIX, Scraped
from tests.service.test_life import free_port
from tests.service.test_workers import a_channel, routers

WORKERS = 2
VECTOR = r.Vector(values=[1.0, 2.0, 3.0])


@pytest.fixture(scope="module")
def told(module_database_url: str) -> Iterator[Stack]:
    """Two routers and a learner that tell metrics."""
    settings = Settings.load(
        port=0,
        workers=WORKERS,
        metrics_port=0,
        log_level="error",
        database_url=module_database_url,
        grace_s=2.0,
    )
    with Stack.start(settings) as started:
        yield started


@pytest.fixture(scope="module")
def workers(told: Stack) -> Iterator[list[Calls]]:
    """Connections enough to reach both routers."""
    with ExitStack() as closing:
        yield [Calls(closing.enter_context(a_channel(told.target))) for _ in range(12)]


@pytest.fixture
def database(told: Stack) -> Iterator[psycopg.Connection]:
    with psycopg.connect(told.database_url, autocommit=True) as connection:
        yield connection


def a_policy(calls: Calls, **settings: object) -> str:
    name = f"policy-{uuid4()}"
    context = c.ContextSettings(vector=c.VectorContext(length=3))
    price = c.Price(input_usd_per_million=1.0, output_usd_per_million=2.0)
    calls.catalog.CreatePolicy(
        c.CreatePolicyRequest(
            name=name,
            settings=c.PolicySettings(context=context, **settings),
            arms=[c.Arm(name=arm, price=price) for arm in ("a", "b")],
        )
    )
    return name


def a_report(policy: str, decision: r.SelectResponse, **fields: object) -> f.ReportRequest:
    fields.setdefault("quality", 0.5)
    return f.ReportRequest(
        policy=policy, decision_id=decision.decision_id, arm=decision.arm, **fields
    )


def scraped(stack: Stack) -> Scraped:
    assert stack.metrics_url is not None
    return Scraped(stack.metrics_url)


def rows(database: psycopg.Connection, query: str, policy: str) -> dict[str, int]:
    return dict(database.execute(query, [policy]).fetchall())


def decisions_per_arm(database: psycopg.Connection, policy: str) -> dict[tuple[str, ...], int]:
    query = (
        "select arm.name, count(*) from decision join policy on policy.id = decision.policy_id"
        " join arm on (arm.policy_id, arm.id) = (decision.policy_id, decision.arm_id)"
        " where policy.name = %s group by 1"
    )
    return {(arm,): count for arm, count in rows(database, query, policy).items()}


def test_what_is_counted_is_what_was_called_and_what_the_database_holds(
    told: Stack, workers: list[Calls], database: psycopg.Connection
) -> None:
    """Through both routers: lone calls, a batch, a stream, repeated ids, and calls that fail."""
    before = scraped(told)
    policy = a_policy(workers[0])
    made: Counter[str] = Counter()
    decisions = []
    for calls in workers * 3:
        decisions.append(calls.select(policy))
        made["Router/Select"] += 1
    repeated = str(uuid4())
    for calls in workers[:4]:
        calls.select(policy, decision_id=repeated)
        made["Router/Select"] += 1
    request = r.SelectRequest(policy=policy, vector=VECTOR)
    batch = workers[1].router.BatchSelect(r.BatchSelectRequest(requests=[request] * 50))
    made["Router/BatchSelect"] += 1
    stream = workers[2].router.SelectStream(iter([r.SelectStreamRequest(request=request)] * 20))
    decisions += [item.response for item in batch.items]
    decisions += [each.item.response for each in stream]
    workers[3].router.Preview(r.PreviewRequest(request=request))
    made["Router/Preview"] += 1
    with pytest.raises(grpc.RpcError):
        workers[4].select("nobody-knows-it")
    made["Router/Select"] += 1
    for calls, decision in zip(workers * 10, decisions, strict=False):
        calls.feedback.Report(a_report(policy, decision, latency_ms=3.0))
        made["Feedback/Report"] += 1
    again = [a_report(policy, decisions[0]), a_report(policy, decisions[0], sequence=1)]
    workers[5].feedback.BatchReport(f.BatchReportRequest(requests=[*again, *again]))
    made["Feedback/BatchReport"] += 1
    workers[6].feedback.Report(a_report(policy, decisions[1], dry_run=True, sequence=7))
    made["Feedback/Report"] += 1

    after = eventually(
        lambda: scraped(told),
        lambda seen: (
            seen.value("folded_outcomes_total", policy=policy) >= 2 * len(decisions)
            and seen.value("ready") == WORKERS
        ),
        within_s=20.0,
    )

    assert after.by("decisions_total", "arm", policy=policy) == decisions_per_arm(database, policy)
    assert after.value("decisions_total", policy=policy, durable="true") == len(decisions) + 1
    query = (
        "select head, count(*) from outcome join policy on policy.id = policy_id"
        " where name = %s group by 1"
    )
    stored = rows(database, query, policy)
    outcomes = after.by("outcomes_total", "objective", "disposition", policy=policy)
    assert outcomes == {
        ("quality", "accepted"): len(decisions),
        ("quality", "corrected"): 1,
        ("quality", "duplicate"): 3,
        ("latency", "accepted"): len(decisions),
    }
    assert sum(stored.values()) == 2 * len(decisions) + 1
    for name in ("calls_total", "call_duration_seconds_count"):
        counted = Counter(after.by(name, "method")) - Counter(before.by(name, "method"))
        streams = counted.pop(("Router/SelectStream",), 0)
        assert streams == (1 if name == "calls_total" else 0)
        assert counted.pop(("Catalog/CreatePolicy",)) == 1
        assert counted == {(method,): count for method, count in made.items()}
    assert after.value("errors_total", method="Router/Select", reason="UNKNOWN_POLICY") == 1
    assert after.value("calls_total", method="Router/Select", code="NOT_FOUND") == 1
    assert after.value("commit_decisions_sum") == after.value("decisions_total") + 3  # repeated
    assert after.value("ready") == WORKERS


def test_every_metric_is_told_and_no_other(told: Stack, workers: list[Calls]) -> None:
    """As far as there is something of it to be told: a budget, here, and an error."""
    policy = a_policy(workers[0])
    workers[0].catalog.SetBudget(
        c.SetBudgetRequest(policy=policy, budget=c.Budget(target_usd_per_decision=0.001))
    )
    for calls in workers:
        calls.feedback.Report(a_report(policy, calls.select(policy), cost_usd=0.002))
    with pytest.raises(grpc.RpcError):
        workers[0].select("nobody-knows-it")

    defined = {metric.name for metric in definitions.ALL}

    seen = eventually(
        lambda: scraped(told),
        lambda seen: (
            defined <= seen.families and seen.value("budget_utilisation_ratio", policy=policy) > 1.5
        ),
    )

    assert {name for name in seen.names if name not in defined} <= {
        metric.name + part
        for metric in definitions.ALL
        if metric.kind is definitions.Kind.HISTOGRAM
        for part in ("_bucket", "_sum", "_count")
    }


def test_what_a_killed_router_counted_stays_and_its_successor_goes_on_from_there(
    told: Stack, workers: list[Calls], database: psycopg.Connection
) -> None:
    policy = a_policy(workers[0])
    for calls in workers * 2:
        calls.select(policy)
    before = scraped(told)
    victims = {name: pid for name, pid in told.pids().items() if pid in routers(told)}

    for _ in range(2):
        victim = told.pids()["router"]
        os.kill(victim, signal.SIGKILL)
        eventually(
            lambda: scraped(told).value("ready"), lambda ready: ready < WORKERS, within_s=5.0
        )
        held = scraped(told)
        assert held.by("decisions_total", "arm", policy=policy) == decisions_per_arm(
            database, policy
        )
        eventually(
            lambda: scraped(told).value("ready"), lambda ready: ready == WORKERS, within_s=30.0
        )
    with ExitStack() as closing:
        for _ in range(12):
            Calls(closing.enter_context(a_channel(told.target))).select(policy)

    after = scraped(told)
    assert set(victims) == {"router", "router 2"}
    assert after.by("decisions_total", "arm", policy=policy) == decisions_per_arm(database, policy)
    assert after.value("decisions_total", policy=policy) == 3 * 12
    assert after.by("process_restarts_total", "process") == {("router-1",): 2}
    assert after.value("process_up") == WORKERS + 1
    for name in ("calls_total", "call_duration_seconds_count", "commit_decisions_count"):
        assert after.value(name) >= before.value(name)


def test_decisions_that_are_not_confirmed_are_told_of_until_they_are_stored(
    module_database_url: str,
) -> None:
    port = free_port()
    with (
        Proxy(target_of(module_database_url)) as proxy,
        router_process(proxied(module_database_url, proxy), metrics_port=port) as router,
        grpc.insecure_channel(f"127.0.0.1:{router.readiness(within_s=60.0)['port']}") as channel,
    ):
        url = f"http://127.0.0.1:{port}/metrics"
        calls = Calls(channel)
        policy = a_policy(calls)
        assert calls.select(policy).durable
        proxy.mode = "refuse"
        unconfirmed = [calls.select(policy).durable for _ in range(5)]

        away = eventually(
            lambda: Scraped(url), lambda seen: seen.value("snapshot_age_seconds", policy=policy) > 1
        )
        proxy.mode = "pass"
        back = eventually(
            lambda: Scraped(url),
            lambda seen: seen.value("unconfirmed_decisions_total", fate="stored") == 5,
        )

    assert unconfirmed == [False] * 5
    assert away.value("database_away") == 1
    assert away.value("backlog_decisions") == 5
    assert away.value("backlog_unconfirmed_decisions") == 5
    assert away.value("backlog_age_seconds") > 0.5
    assert away.value("decisions_total", durable="false") == 5
    assert back.value("database_away") == 0
    assert back.value("backlog_decisions") == 0
    assert back.by("unconfirmed_decisions_total", "fate") == {("answered",): 5, ("stored",): 5}


def test_a_learner_alone_tells_its_own(told: Stack, workers: list[Calls]) -> None:
    a_policy(workers[0])
    port = free_port()
    with learner_process(told.database_url, metrics_port=port):
        seen = eventually(
            lambda: Scraped(f"http://127.0.0.1:{port}/metrics"),
            lambda seen: "pending_outcomes" in seen.names,
        )

    assert "fold_duration_seconds_count" in seen.names
    assert not any(name.startswith("calls") for name in seen.names)


def shared_folders() -> set[Path]:
    return set(SharedFolder.parent().glob("bandit-metrics-*"))


def test_nothing_is_told_after_the_end_and_no_folder_is_left(told: Stack) -> None:
    folders = shared_folders()
    settings = Settings.load(
        port=0, metrics_port=0, log_level="error", database_url=told.database_url, grace_s=1.0
    )
    with Stack.start(settings, routers_only=True) as stack:
        url = stack.metrics_url
        assert url is not None
        assert Scraped(url).value("ready") == 1
        assert shared_folders() - folders

    with pytest.raises(urllib.error.URLError):
        Scraped(url)
    assert shared_folders() <= folders


def test_a_port_that_is_in_use_is_told_by_its_setting(told: Stack) -> None:
    assert told.metrics_url is not None
    port = int(told.metrics_url.split(":")[2].split("/")[0])
    settings = Settings.load(
        port=0, metrics_port=port, log_level="error", database_url=told.database_url
    )

    expected = pytest.raises(StackStartFailed, match=f"metrics_port: cannot listen on .*:{port}")
    with expected, Stack.start(settings, routers_only=True):
        pass


@pytest.mark.parametrize("module", ["services.router", "services.learner"])
def test_a_process_alone_whose_port_is_in_use_ends_with_one_line(told: Stack, module: str) -> None:
    assert told.metrics_url is not None
    port = told.metrics_url.split(":")[2].split("/")[0]

    done = subprocess.run(
        [sys.executable, "-m", module],
        env=os.environ
        | {
            "BANDIT_METRICS_PORT": port,
            "BANDIT_PORT": "0",
            "BANDIT_DATABASE_URL": told.database_url,
            "BANDIT_LOG_LEVEL": "error",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"metrics_port: cannot listen on 127.0.0.1:{port}: Address already in use"
    ]


def test_whoever_wants_no_metrics_imports_nothing_for_them() -> None:
    program = (
        "import sys, services.router.server, services.learner.process\n"
        "from services.settings import Settings\n"
        "from services.telemetry.router import RouterTelemetry\n"
        "server = object()\n"
        "assert RouterTelemetry(Settings()).server(server) is server\n"
        "print([m for m in ('prometheus_client', 'opentelemetry') if m in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"


def test_what_a_killed_owner_left_is_swept_away_and_what_lives_is_not() -> None:
    living = SharedFolder()
    left = SharedFolder()
    os.close(left._lock)  # as the end of its process does
    for folder in (living, left):
        os.utime(folder.path, (0, 0))

    new = SharedFolder()

    assert living.path.exists()
    assert not left.path.exists()
    for folder in (living, new):
        folder.remove()
        assert not folder.path.exists()


assert PREFIX == definitions.PREFIX
