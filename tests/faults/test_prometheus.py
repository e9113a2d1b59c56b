"""The rules and the dashboard, tried with a real Prometheus on a real service."""

import json
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import pytest
import yaml

from bandit.wire import catalog_pb2 as c
from services.settings import Settings
from services.supervisor import Stack
from tests.faults.alert_cases import CASES, fires, rule_of
from tests.faults.prometheus import ALERTS, prometheus, tool
from tests.service.calls import Calls
from tests.service.test_metrics import a_policy, a_report

DASHBOARD = Path(__file__).resolve().parents[2] / "deploy" / "grafana" / "bandit-router.json"
LOAD_S = 20.0
PAUSE_S = 0.01
# What Grafana puts in the place of its variables.
VARIABLES = {"$__rate_interval": "10s", "$policy": ".*"}

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True)
def long_form(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--long-faults", default=False):
        pytest.skip("a Prometheus is fetched and tried by `make faults`")


@contextmanager
def load(target: str) -> Iterator[None]:
    """Decisions, outcomes and an error now and then, under a budget, until the block ends."""
    ending = threading.Event()

    def caller() -> None:
        draw = random.Random(0)
        with grpc.insecure_channel(target) as channel:
            calls = Calls(channel)
            policy = a_policy(calls)
            budget = c.Budget(target_usd_per_decision=0.001)
            calls.catalog.SetBudget(c.SetBudgetRequest(policy=policy, budget=budget))
            while not ending.wait(PAUSE_S):
                report = a_report(
                    policy, calls.select(policy), quality=draw.random(), cost_usd=draw.random()
                )
                calls.feedback.Report(report)
                if draw.random() < 0.1:
                    with suppress(grpc.RpcError):
                        calls.select("nobody-knows-it")

    thread = threading.Thread(target=caller)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(30)


def expressions() -> list[str]:
    """What the dashboard asks, as Grafana sends it."""
    asked = []
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for drawn in panel["targets"]:
            expression = drawn["expr"]
            for variable, value in VARIABLES.items():
                expression = expression.replace(variable, value)
            asked.append(expression)
    return asked


def test_the_rules_are_sound() -> None:
    done = subprocess.run(
        [tool("promtool"), "check", "rules", ALERTS], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_each_rule_fires_when_it_should_and_not_before(tmp_path: Path) -> None:
    tests = tmp_path / "tests.yml"
    tests.write_text(
        json.dumps({"rule_files": [str(ALERTS)], "tests": [fires(case) for case in CASES]})
    )

    done = subprocess.run(
        [tool("promtool"), "test", "rules", tests], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    rules = {rule["alert"] for rule in yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]}
    assert {rule_of(case) for case in CASES if case[3]} == rules


def test_a_prometheus_finds_data_for_every_panel_and_evaluates_every_rule() -> None:
    settings = Settings.load(port=0, metrics_port=0, workers=2, log_level="error")
    with Stack.start(settings, durable=False) as stack:
        assert stack.metrics_url is not None
        with prometheus(stack.metrics_url) as asked, load(stack.target):
            time.sleep(LOAD_S)
            found = {expression: asked.query(expression) for expression in expressions()}
            rules = asked.rules()
            scraped = asked.query("scrape_duration_seconds")[0]["value"][1]

    assert [expression for expression, series in found.items() if not series] == []
    assert len(found) > 20
    assert len(rules) >= 10
    assert {rule["name"]: rule["lastError"] for rule in rules if rule["health"] != "ok"} == {}
    # Far from any budget, and well otherwise; what has a `for` is pending at most.
    assert {rule["name"] for rule in rules if rule["state"] == "firing"} == set()
    print(
        f"{len(found)} queries, {len(rules)} rules; a scrape takes {1000 * float(scraped):.0f} ms"
    )
