"""Whatever is wrong with a change to the catalog, its owner is told what, and nothing changes."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import psycopg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from bandit.domain.policy import ContextSettings, ContextSource
from bandit.features.schema import schema_of
from bandit.learning.sums import packed_length
from bandit.wire import catalog_pb2 as c
from tests.service.calls import Calls
from tests.service.refusals import LONG, MISSING, Case, World, assert_refused, refused

YEAR_9999 = 253_402_214_400  # its last day
WINDOW = "settings.reward_windows[0]"
TARGET = "budget.target_usd_per_decision"


def create(arms: Any = (), name: str = "never", **settings: Any) -> Callable[[World], Any]:
    settings.setdefault("context", c.ContextSettings(vector=c.VectorContext(length=3)))
    return lambda world: c.CreatePolicyRequest(
        name=name, arms=arms, settings=c.PolicySettings(**settings)
    )


SCHEMA = schema_of(ContextSettings(source=ContextSource.VECTOR, vector_length=3))
SUMS = packed_length(SCHEMA.features)


def a_prior(
    *objectives: int,
    schema_id: str = SCHEMA.id,
    strength: float = 20.0,
    sums: Sequence[float] = (0.0,) * SUMS,
) -> c.OfflinePrior:
    heads = [
        c.HeadPrior(objective=objective, rows=100, strength=strength, sums=sums)
        for objective in objectives or (1,)
    ]
    return c.OfflinePrior(schema_id=schema_id, heads=heads)


def budget(**fields: float) -> Callable[[World], Any]:
    return lambda world: c.SetBudgetRequest(policy=world.policy, budget=c.Budget(**fields))


def waits(hours: float, objective: int = 1, **fields: float) -> Callable[[World], Any]:
    window = c.RewardWindow(objective=objective, window_hours=hours, **fields)
    return create(reward_windows=[window])


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
    refused("unknown way offline", create(when_offline=9), "settings.when_offline"),
    refused(
        "unknown detector",
        create(drift=c.DriftSettings(cost=99)),
        "settings.drift.cost",  # type: ignore[arg-type]
    ),
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
    refused(
        "profile of nothing", create(profiles={"best": c.Tradeoff()}), "settings.profiles[best]"
    ),
    refused(
        "profile without weight",
        create(profiles={"best": c.Tradeoff(preference=c.Preference())}),
        "settings.profiles[best].preference",
    ),
    refused(
        "worthless profile",
        create(profiles={"best": c.Tradeoff(willingness_to_pay_usd=math.nan)}),
        "settings.profiles[best].willingness_to_pay_usd",
    ),
    refused(
        "rule for nobody",
        create(arms=[c.Arm(name="a")], rules=[c.LabelRule(label="pii", value="yes")]),
        "settings.rules[0].arms",
    ),
    refused(
        "rule for an unknown arm",
        create(
            arms=[c.Arm(name="a")],
            rules=[c.LabelRule(label="pii", arms=["a"]), c.LabelRule(label="pii", arms=["a", "b"])],
        ),
        "settings.rules[1].arms[1]",
    ),
    refused(
        "new rule for an unknown arm",
        lambda w: c.UpdatePolicyRequest(
            policy=w.policy,
            settings=c.PolicySettings(
                context=c.ContextSettings(vector=c.VectorContext(length=3)),
                rules=[c.LabelRule(label="pii", arms=["zzz"])],
            ),
        ),
        "settings.rules[0].arms[0]",
    ),
    refused(
        "prior of another schema",
        create(arms=[c.Arm(name="a", offline_prior=a_prior(schema_id="another"))]),
        "arms[0].offline_prior.schema_id",
    ),
    refused(
        "prior twice",
        create(arms=[c.Arm(name="a", offline_prior=a_prior(1, 1))]),
        "arms[0].offline_prior.heads[1].objective",
    ),
    refused(
        "prior of nothing",
        create(arms=[c.Arm(name="a", offline_prior=a_prior(0))]),
        "arms[0].offline_prior.heads[0].objective",
    ),
    refused(
        "overbearing prior",
        lambda w: c.AddArmRequest(
            policy=w.policy, arm=c.Arm(name="new", offline_prior=a_prior(1, strength=51))
        ),
        "arm.offline_prior.heads[0].strength",
    ),
    refused(
        "prior without sums",
        lambda w: c.AddArmRequest(
            policy=w.policy, arm=c.Arm(name="new", offline_prior=a_prior(1, sums=[]))
        ),
        "arm.offline_prior.heads[0].sums",
    ),
    refused(
        "NaN prior",
        lambda w: c.AddArmRequest(
            policy=w.policy,
            arm=c.Arm(name="new", offline_prior=a_prior(1, sums=[math.nan] * SUMS)),
        ),
        "arm.offline_prior.heads[0].sums",
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
    refused("window of no time", waits(0), f"{WINDOW}.window_hours"),
    refused("window of NaN", waits(math.nan), f"{WINDOW}.window_hours"),
    refused("window of years", waits(9000), f"{WINDOW}.window_hours"),
    refused("default no quality can be", waits(1, default_value=1.5), f"{WINDOW}.default_value"),
    refused("NaN by default", waits(1, default_value=math.nan), f"{WINDOW}.default_value"),
    refused("window of nothing", waits(1, objective=0), f"{WINDOW}.objective"),
    refused(
        "two windows",
        create(reward_windows=[c.RewardWindow(objective=1, window_hours=1)] * 2),
        "settings.reward_windows[1].objective",
    ),
    refused(
        "window of what is not learned",
        create(
            objectives=[c.OBJECTIVE_QUALITY],
            default_preference=c.Preference(quality=1),
            reward_windows=[c.RewardWindow(objective=3, window_hours=1)],
        ),
        f"{WINDOW}.objective",
    ),
    refused("too many trials", create(explore_quota=10_001), "settings.explore_quota"),
    refused("fewer than no trials", create(explore_quota=-1), "settings.explore_quota"),
    refused(
        "trials that may cost nothing",
        lambda w: c.AddArmRequest(policy=w.policy, arm=c.Arm(name="new", explore_limit_usd=0)),
        "arm.explore_limit_usd",
    ),
    refused(
        "trials that would earn",
        lambda w: c.UpdateArmRequest(policy=w.policy, arm="a", explore_limit_usd=-1),
        "explore_limit_usd",
    ),
    refused("budget of nothing", budget(), "budget"),
    refused("budget of no number", budget(target_usd_per_decision=math.nan), TARGET),
    refused("negative target", budget(target_usd_per_decision=-0.1), TARGET),
    refused(
        "two aims",
        budget(target_usd_per_decision=1.0, quality_floor=0.5),
        "budget.quality_floor",
    ),
    refused("floor above the ceiling", budget(quality_floor=1.1), "budget.quality_floor"),
    refused("limit of nothing", budget(limit_usd=0.0), "budget.limit_usd"),
    refused("window shut", budget(limit_usd=1.0, window_hours=0.0), "budget.window_hours"),
    refused(
        "budget where cost is not learned",
        lambda w: c.SetBudgetRequest(policy=w.plain, budget=c.Budget(limit_usd=1.0)),
        "budget",
    ),
    Case(
        "budget of an unknown policy",
        lambda w: c.SetBudgetRequest(policy="nobody"),
        MISSING,
        "UNKNOWN_POLICY",
    ),
    Case(
        "budget of an unknown policy asked for",
        lambda w: c.GetBudgetRequest(policy="nobody"),
        MISSING,
        "UNKNOWN_POLICY",
    ),
    refused("budget of nobody", lambda w: c.GetBudgetRequest(), "policy"),
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
