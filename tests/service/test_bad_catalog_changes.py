"""Whatever is wrong with a change to the catalog, its owner is told what, and nothing changes."""

import math
from collections.abc import Callable
from typing import Any

import grpc
import psycopg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from bandit.wire import catalog_pb2 as c
from tests.service.calls import Calls
from tests.service.refusals import LONG, MISSING, Case, World, assert_refused, refused

YEAR_9999 = 253_402_214_400  # its last day


def create(arms: Any = (), name: str = "never", **settings: Any) -> Callable[[World], Any]:
    return lambda world: c.CreatePolicyRequest(
        name=name, arms=arms, settings=c.PolicySettings(**settings)
    )


CASES = [
    refused("long policy name made", create(name=LONG), "name"),
    refused("nameless policy", create(name=""), "name"),
    refused("nameless arm", create(arms=[c.Arm(name="a"), c.Arm()]), "arms[1].name"),
    refused(
        "negative price",
        create(arms=[c.Arm(name="a", price=c.Price(fee_usd=-1))]),
        "arms[0].price.fee_usd",
    ),
    refused(
        "no window",
        create(arms=[c.Arm(name="a", context_window_tokens=0)]),
        "arms[0].context_window_tokens",
    ),
    refused(
        "arm retired at birth",
        create(arms=[c.Arm(name="a", status=c.ARM_STATUS_RETIRED)]),
        "arms[0].status",
    ),
    refused("two arms of a name", create(arms=[c.Arm(name="a")] * 2), "arms.name"),
    refused("hot", create(temperature=math.inf), "settings.temperature"),
    refused("epsilon over 1", create(epsilon=2), "settings.epsilon"),
    refused("unknown algorithm", create(algorithm=99), "settings.algorithm"),
    refused("unknown objective", create(objectives=[1, 0]), "settings.objectives[1]"),
    refused("no quality", create(objectives=[2]), "settings.objectives"),
    refused(
        "range upside down",
        create(latency_range_ms=c.Range(low=2, high=1)),
        "settings.latency_range_ms",
    ),
    refused(
        "negative default weight",
        create(default_preference=c.Preference(quality=-1)),
        "settings.default_preference.quality",
    ),
    refused(
        "half-life of nothing",
        create(half_life_hours=c.HalfLife(cost=0.0)),
        "settings.half_life_hours.cost",
    ),
    refused(
        "vector of no length",
        create(context=c.ContextSettings(vector=c.VectorContext())),
        "settings.context.vector.length",
    ),
    refused(
        "feature without spread",
        create(context=c.ContextSettings(features=[c.NamedFeature(name="age", deviation=0)])),
        "settings.context.features[0].deviation",
    ),
    refused("short key", lambda w: c.CreatePolicyRequest(name="never", key=b"short"), "key"),
    Case(
        "name taken",
        lambda w: c.CreatePolicyRequest(name=w.policy),
        grpc.StatusCode.ALREADY_EXISTS,
        "ALREADY_EXISTS",
    ),
    Case(
        "arm's name taken",
        lambda w: c.AddArmRequest(policy=w.policy, arm=c.Arm(name="a")),
        grpc.StatusCode.ALREADY_EXISTS,
        "ALREADY_EXISTS",
    ),
    refused("nameless arm added", lambda w: c.AddArmRequest(policy=w.policy), "arm.name"),
    refused(
        "another context",
        lambda w: c.UpdatePolicyRequest(policy=w.policy, settings=c.PolicySettings()),
        "settings.context",
    ),
    Case(
        "stale version",
        lambda w: c.UpdatePolicyRequest(policy=w.policy, expected_policy_version=7),
        grpc.StatusCode.ABORTED,
        "STALE_POLICY",
    ),
    refused("no status", lambda w: c.SetArmStatusRequest(policy=w.policy, arm="a"), "status"),
    refused(
        "retired by status",
        lambda w: c.SetArmStatusRequest(policy=w.policy, arm="a", status=c.ARM_STATUS_RETIRED),
        "status",
    ),
    refused("no price", lambda w: c.SetPriceRequest(policy=w.policy, arm="a"), "price"),
    refused(
        "price in the past",
        lambda w: c.SetPriceRequest(
            policy=w.policy, arm="a", price=c.Price(), valid_from=Timestamp(seconds=1)
        ),
        "valid_from",
    ),
    refused(
        "price at the end of time",
        lambda w: c.SetPriceRequest(
            policy=w.policy, arm="a", price=c.Price(), valid_from=Timestamp(seconds=YEAR_9999)
        ),
        "valid_from",
    ),
    Case(
        "price of an unknown arm",
        lambda w: c.SetPriceRequest(policy=w.policy, arm="zzz", price=c.Price()),
        MISSING,
        "UNKNOWN_ARM",
    ),
    Case(
        "unknown policy asked for",
        lambda w: c.GetPolicyRequest(policy="nobody"),
        MISSING,
        "UNKNOWN_POLICY",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_change_is_refused_by_name_and_changes_nothing(
    case: Case, world: World, calls: Calls, database: psycopg.Connection
) -> None:
    assert_refused(case, world, calls, database)
