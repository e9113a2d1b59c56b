"""Alert rules, dashboard and page name the metrics that there are."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.telemetry.definitions import ALL, PREFIX, Kind, Metric

PROJECT = Path(__file__).parents[3]
PAGE = PROJECT / "docs" / "operations.md"
ALERTS = PROJECT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = PROJECT / "deploy" / "grafana" / "bandit-router.json"
PARTS = ("_bucket", "_sum", "_count")
SERIES = {
    metric.full_name + part: metric
    for metric in ALL
    for part in (PARTS if metric.kind is Kind.HISTOGRAM else ("",))
}
KINDS = {"livesum": ", sum", "livemax": ", greatest", "livemostrecent": ", newest"}


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    return list(group["rules"])


def panels() -> list[dict[str, Any]]:
    return list(json.loads(DASHBOARD.read_text())["panels"])


def expressions() -> list[str]:
    drawn = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [*drawn, *(alert["expr"] for alert in alerts())]


def named(expression: str) -> Iterator[tuple[Metric, set[str]]]:
    """The metrics of an expression with the labels that it chooses by."""
    for name, chosen in re.findall(rf"({PREFIX}\w+)(\{{[^}}]*\}})?", expression):
        assert name in SERIES, f"{name} is told by nobody"
        yield SERIES[name], set(re.findall(r"(\w+)=", chosen))


def test_the_table_on_the_page_is_the_definitions() -> None:
    rows = re.findall(rf"^\| `({PREFIX}\w+)` \| (.*) \| (.*) \| (.*) \|$", PAGE.read_text(), re.M)

    assert rows == [
        (
            metric.full_name,
            metric.kind.value + (KINDS[metric.merged.value] if metric.kind is Kind.GAUGE else ""),
            ", ".join(f"`{label}`" for label in metric.labels) or "-",
            metric.help,
        )
        for metric in ALL
    ]


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_names_what_is_there(expression: str) -> None:
    found = list(named(expression))

    assert found
    for metric, chosen in found:
        assert chosen <= {*metric.labels, "le"}
    for grouped in re.findall(r"by \(([^)]*)\)", expression):
        assert {label.strip() for label in grouped.split(",")} <= {
            "le",
            *(label for metric, _ in found for label in metric.labels),
        }


def test_every_metric_is_drawn_or_alarmed() -> None:
    used = {metric for expression in expressions() for metric, _ in named(expression)}

    assert set(ALL) - used == set()


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_has_a_paragraph_that_says_what_to_look_at_and_do(alert: dict[str, Any]) -> None:
    page, anchor = alert["annotations"]["runbook"].split("#")

    text = (PROJECT / page).read_text()
    heading, *_, paragraph = re.findall(
        rf"^### ({alert['alert']})\n\n(.*?)(?=^###|\Z)", text, re.M | re.S
    )[0]
    assert heading.lower() == anchor
    assert "Look:" in paragraph
    assert "Do:" in paragraph
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    assert alert["annotations"]["summary"]


def test_every_paragraph_has_its_alert() -> None:
    headings = re.findall(r"^### (\w+)$", PAGE.read_text(), re.M)

    assert headings == [alert["alert"] for alert in alerts()]


def test_names_are_as_prometheus_wants_them() -> None:
    for metric in ALL:
        assert re.fullmatch(r"[a-z_]+", metric.full_name)
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
        assert metric.help.endswith(".")
