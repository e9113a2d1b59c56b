"""What makes each alert rule fire, and what is just not enough for it, as `promtool` takes it."""

from typing import Any

# Per rule: series with their values, a minute apart; whether it fires, and after how long.
Case = tuple[str, dict[str, str], str, bool]
_P = "bandit_router_"

CASES: list[Case] = [
    ("NotReady", {"ready": "0x10"}, "2m", True),
    ("NotReady", {"calls_limit": "2000x10"}, "2m", True),  # nobody says that it is ready
    ("NotReady", {"ready": "1x10"}, "9m", False),
    ("ProcessDies", {'process_restarts_total{process="router-1"}': "0+1x20"}, "8m", True),
    ("ProcessDies", {'process_restarts_total{process="router-1"}': "0 0 1x20"}, "20m", False),
    ("ProcessDies", {'process_up{process="learner-1"}': "1 0x10"}, "3m", True),
    (
        "Errors",
        {'calls_total{code="OK"}': "0+98x20", 'calls_total{code="INTERNAL"}': "0+2x20"},
        "12m",
        True,
    ),
    (
        "Errors",
        {'calls_total{code="OK"}': "0+98x20", 'calls_total{code="NOT_FOUND"}': "0+20x20"},
        "19m",
        False,
    ),
    (
        "Slow",
        {
            'call_duration_seconds_bucket{method="Router/Select",le="0.25"}': "0+90x30",
            'call_duration_seconds_bucket{method="Router/Select",le="0.5"}': "0+100x30",
            'call_duration_seconds_bucket{method="Router/Select",le="+Inf"}': "0+100x30",
        },
        "20m",
        True,
    ),
    (
        "Slow",
        {
            'call_duration_seconds_bucket{method="Router/Select",le="0.25"}': "0+100x30",
            'call_duration_seconds_bucket{method="Router/Select",le="+Inf"}': "0+100x30",
        },
        "20m",
        False,
    ),
    ("Overloaded", {'errors_total{reason="OVERLOADED"}': "1+1x10"}, "6m", True),
    ("Overloaded", {"calls_under_way": "1700x10", "calls_limit": "2000x10"}, "3m", True),
    ("Overloaded", {"calls_under_way": "1500x10", "calls_limit": "2000x10"}, "9m", False),
    ("DatabaseAway", {"database_away": "1x10"}, "2m", True),
    ("DatabaseAway", {"backlog_age_seconds": "31x10"}, "2m", True),
    ("DatabaseAway", {"database_away": "0x10", "backlog_age_seconds": "3x10"}, "9m", False),
    ("DecisionsLost", {'unconfirmed_decisions_total{fate="dropped"}': "0 0 5x10"}, "4m", True),
    ("DecisionsLost", {'unconfirmed_decisions_total{fate="stored"}': "0 0 5x10"}, "4m", False),
    ("NotLearning", {'outcomes_total{disposition="accepted"}': "0+5x40"}, "25m", True),
    (
        "NotLearning",
        {
            'outcomes_total{disposition="accepted"}': "0+5x40",
            'folded_outcomes_total{policy="p"}': "0+5x40",
        },
        "25m",
        False,
    ),
    ("LearnerLag", {'pending_age_seconds{policy="p"}': "121x20"}, "6m", True),
    ("LearnerLag", {'pending_age_seconds{policy="p"}': "119x20"}, "19m", False),
    ("SnapshotOld", {'snapshot_age_seconds{policy="p"}': "61x20"}, "3m", True),
    ("SnapshotOld", {'snapshot_age_seconds{policy="p"}': "1x20"}, "19m", False),
    ("ArmChanged", {'alarms_total{policy="p",arm="a",objective="quality"}': "0 0 1x9"}, "5m", True),
    ("ArmChanged", {'alarms_total{policy="p",arm="a",objective="quality"}': "1x99"}, "9m", False),
    ("BudgetOverspent", {'budget_utilisation_ratio{policy="p"}': "1.2x60"}, "31m", True),
    ("BudgetOverspent", {'budget_utilisation_ratio{policy="p"}': "1.05x60"}, "59m", False),
    ("Quarantine", {'quarantined{policy="p"}': "1x20"}, "6m", True),
    ("Quarantine", {'quarantined{policy="p"}': "0x20"}, "19m", False),
]


def rule_of(case: Case) -> str:
    """The name of the rule in the file."""
    return f"BanditRouter{case[0]}"


def fires(case: Case) -> dict[str, Any]:
    """A test in which the rule fires; it fails where it does not, and the other way round."""
    _, series, after, _ = case
    return {
        "interval": "1m",
        "input_series": [
            {"series": _P + name, "values": values} for name, values in series.items()
        ],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{rule_of(case)}",alertstate="firing"}}) > 0',
                "eval_time": after,
                "exp_samples": [{"labels": "{}", "value": 1}] if case[3] else [],
            }
        ],
    }
