import math

import pytest

from bandit.domain.errors import InvalidInput
from bandit.domain.outcome import Report
from tests.builders import a_uuid7


def a_report(**changes):
    return Report(policy="chat", decision_id=a_uuid7(), arm="small", **changes)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        *[("quality", {"quality": value}) for value in (math.nan, -0.01, 1.01)],
        *[("cost_usd", {"cost_usd": value}) for value in (math.nan, math.inf, -1e-9)],
        *[("latency_ms", {"latency_ms": value}) for value in (math.nan, math.inf, 0.0, -1.0)],
        *[("output_tokens", {"output_tokens": value}) for value in (-1, 2**40 + 1)],
        *[("sequence", {"quality": 1.0, "sequence": value}) for value in (-1, 2**63)],
        *[
            ("source", {"quality": 1.0, "source": value})
            for value in ("", "x" * 201, "line\nbreak")
        ],
        ("report", {}),
    ],
)
def test_a_report_that_cannot_be_is_refused_by_field(field, changes):
    with pytest.raises(InvalidInput) as refusal:
        a_report(**changes)

    assert refusal.value.field == field


@pytest.mark.parametrize(
    "changes",
    [
        {"quality": 0.0},
        {"quality": 1.0},
        {"cost_usd": 0.0},
        {"latency_ms": 1e-9},
        {"output_tokens": 0},
        {"failed": True},
        {"failed": True, "quality": 0.5},
        {"quality": 0.5, "sequence": 2**63 - 1},
    ],
)
def test_any_one_outcome_makes_a_report(changes):
    report = a_report(**changes)

    assert {name: getattr(report, name) for name in changes} == changes
