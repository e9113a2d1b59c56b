import numpy as np
import pytest
from numpy.testing import assert_array_equal

from bandit.domain.arm import ArmStatus
from bandit.domain.errors import InvalidInput
from bandit.domain.label_rule import LabelRule
from bandit.domain.objective import HEADS, Objective
from bandit.domain.query import Query
from bandit.policies.eligibility import Removal, check_constraints, filters_of
from bandit.policies.estimates import Estimates
from tests.builders import an_arm

ARMS = (an_arm("small", context_window_tokens=1000), an_arm("large"))
ESTIMATES = Estimates(
    quality=np.array([[0.6, 0.9]]),
    log_cost=np.log([[0.001, 0.01]]),
    log_latency=np.log([[300.0, 3000.0]]),
    variance=np.full((1, 2, 3), 0.01),
    cost_noise=np.full(2, 0.25),
)
KEPT = Removal.NONE


def removed(*, arms=ARMS, rules=(), **constraints):
    query = Query(policy="p", **constraints)
    (codes,) = filters_of(arms, rules).removals([query], ESTIMATES)
    return codes.tolist()


@pytest.mark.parametrize(
    ("constraints", "small", "large"),
    [
        ({}, KEPT, KEPT),
        ({"allow_arms": ("large",)}, Removal.ALLOW_ARMS, KEPT),
        ({"deny_arms": ("large",)}, KEPT, Removal.DENY_ARMS),
        ({"input_tokens": 1001}, Removal.CONTEXT_WINDOW, KEPT),
        ({"input_tokens": 1000}, KEPT, KEPT),
        ({"input_tokens": 900, "max_output_tokens": 101}, Removal.CONTEXT_WINDOW, KEPT),
        ({"max_cost_usd": 0.005}, KEPT, Removal.MAX_COST),
        ({"max_latency_ms": 1000.0}, KEPT, Removal.MAX_LATENCY),
        ({"min_quality": 0.8}, Removal.MIN_QUALITY, KEPT),
    ],
)
def test_each_filter_removes_its_arms(constraints, small, large):
    assert removed(**constraints) == [small, large]


@pytest.mark.parametrize("status", [status for status in ArmStatus if not status.is_choosable])
def test_arms_that_cannot_be_chosen_are_removed_by_their_status(status):
    arms = (an_arm("small", status=status), an_arm("large", status=ArmStatus.EXPLORE))

    assert removed(arms=arms) == [Removal.STATUS, KEPT]


@pytest.mark.parametrize(
    ("labels", "small", "large"),
    [
        ({}, KEPT, KEPT),
        ({"pii": "no"}, KEPT, KEPT),
        ({"pii": "YES"}, KEPT, KEPT),
        ({"pii": "yes"}, KEPT, Removal.LABEL_RULE),
        ({"region": "eu"}, Removal.LABEL_RULE, KEPT),
        ({"pii": "yes", "region": "eu"}, Removal.LABEL_RULE, Removal.LABEL_RULE),
    ],
)
def test_a_label_keeps_a_request_to_the_arms_of_every_rule_that_matches(labels, small, large):
    rules = (LabelRule("pii", "yes", ("small", "gone")), LabelRule("region", "eu", ("large",)))

    assert removed(rules=rules, labels=labels) == [small, large]


def test_the_first_filter_in_order_is_the_one_that_is_named():
    """Each constraint removes the arm; taken away from the front, the next one shows."""
    arms = (an_arm("small", status=ArmStatus.SHADOW, context_window_tokens=1), ARMS[1])
    active = (an_arm("small", context_window_tokens=1), ARMS[1])
    constraints = {
        "rules": (LabelRule("pii", "yes", ("large",)),),
        "labels": {"pii": "yes"},
        "deny_arms": ("small",),
        "allow_arms": ("large",),
        "input_tokens": 10,
        "max_cost_usd": 1e-6,
        "max_latency_ms": 1.0,
        "min_quality": 0.99,
    }
    order = [
        Removal.LABEL_RULE,
        Removal.DENY_ARMS,
        Removal.DENY_ARMS,
        Removal.ALLOW_ARMS,
        Removal.CONTEXT_WINDOW,
        Removal.MAX_COST,
        Removal.MAX_LATENCY,
        Removal.MIN_QUALITY,
    ]

    found = [removed(arms=arms, **constraints)[0]]
    for name in list(constraints):
        found.append(removed(arms=active, **constraints)[0])
        del constraints[name]
        if name == "input_tokens":
            constraints["input_tokens"] = 1
            active = ARMS

    assert found == [Removal.STATUS, *order]


def test_every_filter_has_the_name_that_callers_see():
    labels = {removal.label for removal in Removal}

    assert labels == {
        "",
        "status",
        "label_rule",
        "allow_arms",
        "deny_arms",
        "context_window",
        "max_cost_usd",
        "max_latency_ms",
        "min_quality",
        "budget_limit",
        "budget_guard",
        "explore_quota",
        "explore_cost",
    }


def test_the_stored_numbers_of_the_filters_never_change():
    assert [removal.name for removal in sorted(Removal)] == [
        "NONE",
        "STATUS",
        "ALLOW_ARMS",
        "DENY_ARMS",
        "CONTEXT_WINDOW",
        "MAX_COST",
        "MAX_LATENCY",
        "MIN_QUALITY",
        "LABEL_RULE",
        "BUDGET_LIMIT",
        "BUDGET_GUARD",
        "EXPLORE_QUOTA",
        "EXPLORE_COST",
    ]
    assert_array_equal(sorted(Removal), np.arange(13))


@pytest.mark.parametrize(
    ("field", "constraints", "objectives"),
    [
        ("allow_arms[1]", {"allow_arms": ("small", "other")}, HEADS),
        ("deny_arms[0]", {"deny_arms": ("other",)}, HEADS),
        ("switch_cost_usd[other]", {"switch_cost_usd": {"small": 1.0, "other": 0.0}}, HEADS),
        ("switch_cost_usd", {"switch_cost_usd": {"small": 0.0}}, (Objective.QUALITY,)),
        ("max_cost_usd", {"max_cost_usd": 1.0}, (Objective.QUALITY, Objective.LATENCY)),
        ("max_latency_ms", {"max_latency_ms": 1.0}, (Objective.QUALITY, Objective.COST)),
    ],
)
def test_constraints_that_mean_nothing_are_refused_by_field(field, constraints, objectives):
    query = Query(policy="p", **constraints)

    with pytest.raises(InvalidInput) as refusal:
        check_constraints(query, ARMS, objectives)

    assert refusal.value.field == field
