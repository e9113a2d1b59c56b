"""Whatever is wrong with a request, the caller is told what, and nothing changes."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import grpc
import psycopg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from bandit.wire import catalog_pb2 as c
from bandit.wire import feedback_pb2 as f
from bandit.wire import learning_pb2
from bandit.wire import router_pb2 as r
from tests.service.calls import Calls, error_of, unpacked

INVALID = grpc.StatusCode.INVALID_ARGUMENT
MISSING = grpc.StatusCode.NOT_FOUND
TOO_LARGE = grpc.StatusCode.RESOURCE_EXHAUSTED
LONG = "x" * 201
OLD_ID = "01800000-0000-7000-8000-000000000000"  # a UUIDv7 of April 2022


@dataclass(frozen=True)
class World:
    """A policy with everything, one that learns quality alone, and a decision of the first."""

    policy: str
    plain: str
    decision_id: str
    arm: str


@dataclass(frozen=True)
class Case:
    """A request to be refused, and how."""

    name: str
    request: Callable[[World], Any]
    code: grpc.StatusCode
    reason: str
    field: str = ""


def select(**fields: Any) -> Callable[[World], r.SelectRequest]:
    if "text" not in fields:
        fields.setdefault("vector", r.Vector(values=[1, 2, 3]))
    return lambda world: r.SelectRequest(**({"policy": world.policy} | fields))


def plain(**fields: Any) -> Callable[[World], r.SelectRequest]:
    return lambda world: r.SelectRequest(policy=world.plain, **fields)


def report(**fields: Any) -> Callable[[World], f.ReportRequest]:
    return lambda world: f.ReportRequest(
        **(
            {"policy": world.policy, "decision_id": world.decision_id, "arm": world.arm}
            | ({"quality": 0.5} if not fields.pop("nothing", False) else {})
            | fields
        )
    )


def create(arms: Any = (), name: str = "never", **settings: Any) -> Callable[[World], Any]:
    return lambda world: c.CreatePolicyRequest(
        name=name, arms=arms, settings=c.PolicySettings(**settings)
    )


def vector(*values: float) -> r.Vector:
    return r.Vector(values=values)


def refused(name: str, request: Callable[[World], Any], field: str) -> Case:
    return Case(name, request, INVALID, "INVALID_ARGUMENT", field)


CASES = [
    # A choice
    refused("wrong dimension", select(vector=vector(1, 2)), "vector.values"),
    refused("empty vector", select(vector=vector()), "vector.values"),
    refused("NaN in a vector", select(vector=vector(1, 2, math.nan)), "vector.values[2]"),
    refused("infinity in a vector", select(vector=vector(math.inf, 2, 3)), "vector.values[0]"),
    refused("text for a vector", select(text="hello"), "text"),
    refused("no vector", lambda w: r.SelectRequest(policy=w.policy), "vector"),
    refused("undeclared feature", select(features={"age": 3.0}), "features[age]"),
    refused("NaN feature", select(features={"age": math.nan}), "features[age]"),
    refused("negative weight", select(preference=c.Preference(cost=-1)), "preference.cost"),
    refused("all weights zero", select(preference=c.Preference()), "preference"),
    refused("NaN weight", select(preference=c.Preference(quality=math.nan)), "preference.quality"),
    refused("unlearned", plain(preference=c.Preference(quality=1, cost=1)), "preference.cost"),
    refused("unlearned cost", plain(willingness_to_pay_usd=1.0), "willingness_to_pay_usd"),
    refused("unlearned limit", plain(max_latency_ms=1.0), "max_latency_ms"),
    refused("worthless", select(willingness_to_pay_usd=0.0), "willingness_to_pay_usd"),
    refused("negative limit", select(max_cost_usd=-1.0), "max_cost_usd"),
    refused("infinite limit", select(max_latency_ms=math.inf), "max_latency_ms"),
    refused("quality over 1", select(min_quality=1.5), "min_quality"),
    refused("NaN quality", select(min_quality=math.nan), "min_quality"),
    refused("negative tokens", select(input_tokens=-1), "input_tokens"),
    refused("endless output", select(max_output_tokens=2**62), "max_output_tokens"),
    refused("unknown arm allowed", select(allow_arms=["a", "zzz"]), "allow_arms[1]"),
    refused("unknown arm denied", select(deny_arms=["zzz"]), "deny_arms[0]"),
    refused("long arm denied", select(deny_arms=[LONG]), "deny_arms[0]"),
    refused("bad id", select(decision_id="not-a-uuid"), "decision_id"),
    refused("id of an old day", select(decision_id=OLD_ID), "decision_id"),
    refused("far future id", select(decision_id=f"f{OLD_ID[1:]}"), "decision_id"),
    refused("long policy name", select(policy=LONG), "policy"),
    refused("no policy name", select(policy=""), "policy"),
    refused("NUL in a policy name", select(policy="a\0b"), "policy"),
    Case("unknown policy", select(policy="nobody"), MISSING, "UNKNOWN_POLICY"),
    Case(
        "no eligible arm",
        select(deny_arms=["a"], max_cost_usd=0.0),
        grpc.StatusCode.FAILED_PRECONDITION,
        "NO_ELIGIBLE_ARM",
    ),
    Case("many labels", select(labels={str(n): "" for n in range(33)}), TOO_LARGE, "TOO_LARGE"),
    Case("long label", select(labels={"a": "x" * 257}), TOO_LARGE, "TOO_LARGE"),
    Case("long text", select(text="x" * 1_000_001), TOO_LARGE, "TOO_LARGE"),
    # A preview
    refused(
        "wrong dimension in a preview",
        lambda w: r.PreviewRequest(request=select(vector=vector(1))(w)),
        "request.vector.values",
    ),
    refused(
        "bad id in a preview",
        lambda w: r.PreviewRequest(request=select(decision_id="x")(w)),
        "request.decision_id",
    ),
    # Batches
    refused("empty batch", lambda w: r.BatchSelectRequest(), "requests"),
    refused("empty batch of reports", lambda w: f.BatchReportRequest(), "requests"),
    Case(
        "batch over the limit",
        lambda w: r.BatchSelectRequest(requests=[r.SelectRequest()] * 257),
        TOO_LARGE,
        "TOO_LARGE",
    ),
    Case(
        "batch of reports over the limit",
        lambda w: f.BatchReportRequest(requests=[f.ReportRequest()] * 257),
        TOO_LARGE,
        "TOO_LARGE",
    ),
    # A report
    refused("quality over 1", report(quality=1.01), "quality"),
    refused("NaN quality", report(quality=math.nan), "quality"),
    refused("negative cost", report(cost_usd=-0.1), "cost_usd"),
    refused("infinite cost", report(cost_usd=math.inf), "cost_usd"),
    refused("latency of nothing", report(latency_ms=0.0), "latency_ms"),
    refused("NaN latency", report(latency_ms=math.nan), "latency_ms"),
    refused("negative tokens", report(output_tokens=-1), "output_tokens"),
    refused("negative sequence", report(sequence=-1), "sequence"),
    refused("nothing reported", report(nothing=True), "report"),
    refused("bad decision id", report(decision_id="x"), "decision_id"),
    refused("no decision id", report(decision_id=""), "decision_id"),
    refused("long arm", report(arm=LONG), "arm"),
    refused("impossible time", report(observed_at=Timestamp(seconds=2**60)), "observed_at"),
    Case("report to nobody", report(policy="nobody"), MISSING, "UNKNOWN_POLICY"),
    Case("report of an unknown arm", report(arm="zzz"), MISSING, "UNKNOWN_ARM"),
    Case(
        "report of an unknown decision",
        report(decision_id="00000000-0000-4000-8000-000000000000"),
        MISSING,
        "UNKNOWN_DECISION",
    ),
    # The catalog
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
    Case(
        "state of an unknown policy",
        lambda w: learning_pb2.GetStateRequest(policy="nobody"),
        MISSING,
        "UNKNOWN_POLICY",
    ),
]


@pytest.fixture(scope="module")
def world(calls: Calls) -> World:
    policy, plain_policy = f"bad-input-{uuid4()}", f"bad-input-plain-{uuid4()}"
    price = c.Price(input_usd_per_million=1.0)
    calls.catalog.CreatePolicy(
        c.CreatePolicyRequest(
            name=policy,
            settings=c.PolicySettings(context=c.ContextSettings(vector=c.VectorContext(length=3))),
            arms=[c.Arm(name="a", price=price), c.Arm(name="b", price=price)],
        )
    )
    calls.catalog.CreatePolicy(
        c.CreatePolicyRequest(
            name=plain_policy,
            settings=c.PolicySettings(
                context=c.ContextSettings(),
                objectives=[c.OBJECTIVE_QUALITY],
                default_preference=c.Preference(quality=1),
            ),
            arms=[c.Arm(name="a")],
        )
    )
    chosen = calls.select(policy)
    return World(policy, plain_policy, chosen.decision_id, chosen.arm)


def everything(database: psycopg.Connection) -> tuple[Any, ...]:
    """What would show any change: every count and every version."""
    row = database.execute(
        "select (select count(*) from decision), (select count(*) from outcome),"
        " (select count(*) from dirty_key), (select count(*) from contribution),"
        " (select count(*) from policy_event), (select count(*) from arm),"
        " (select count(*) from price), (select sum(version) from posterior),"
        " (select sum(version + learned_version) from policy)"
    ).fetchone()
    assert row is not None
    return row


def called(calls: Calls, request: Any) -> Any:
    """Send a request to the method it belongs to."""
    method = type(request).__name__.removesuffix("Request")
    for stub in (calls.router, calls.feedback, calls.catalog, calls.learning):
        if hasattr(stub, method):
            return getattr(stub, method)(request)
    raise AssertionError(method)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_request_is_refused_by_name_and_changes_nothing(
    case: Case, world: World, calls: Calls, database: psycopg.Connection
) -> None:
    before = everything(database)

    with pytest.raises(grpc.RpcError) as raised:
        called(calls, case.request(world))

    code, details = error_of(raised.value)
    assert code is case.code, raised.value.details()
    assert details["ErrorInfo"].reason == case.reason
    assert details["ErrorInfo"].domain == "bandit.router"
    if case.field:
        assert [v.field for v in details["BadRequest"].field_violations] == [case.field]
    if code is TOO_LARGE:
        assert details["QuotaFailure"].violations
        assert details["RetryInfo"].retry_delay.seconds > 0
    assert everything(database) == before


def test_no_eligible_arm_says_which_filter_removed_which(world: World, calls: Calls) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        calls.select(world.policy, deny_arms=["a"], max_cost_usd=0.0)

    _, details = error_of(raised.value)
    violations = {v.subject: v.description for v in details["PreconditionFailure"].violations}
    assert violations == {"a": "deny_arms", "b": "max_cost_usd"}


def test_a_decision_that_may_be_on_its_way_is_to_be_asked_for_again(
    world: World, calls: Calls
) -> None:
    from services.router.compose import new_id

    with pytest.raises(grpc.RpcError) as raised:
        calls.feedback.Report(report(decision_id=str(new_id()))(world))

    code, details = error_of(raised.value)
    assert code is MISSING
    assert details["RetryInfo"].retry_delay.nanos > 0


def test_a_bad_item_fails_alone(world: World, calls: Calls, database: psycopg.Connection) -> None:
    good, bad = select()(world), select(vector=vector(1, 2, math.nan))(world)
    unknown = select(policy="nobody")(world)

    items = calls.router.BatchSelect(
        r.BatchSelectRequest(requests=[good, bad, unknown, good])
    ).items

    assert [item.WhichOneof("result") for item in items] == [
        "response",
        "error",
        "error",
        "response",
    ]
    details = unpacked(items[1].error)
    assert details["BadRequest"].field_violations[0].field == "vector.values[2]"
    assert unpacked(items[2].error)["ErrorInfo"].reason == "UNKNOWN_POLICY"
    assert items[0].response.decision_id != items[3].response.decision_id


def test_a_bad_report_fails_alone(world: World, calls: Calls) -> None:
    dry = report(dry_run=True, cost_usd=0.1)(world)
    bad = report(quality=7)(world)

    items = calls.feedback.BatchReport(f.BatchReportRequest(requests=[bad, dry])).items

    assert unpacked(items[0].error)["BadRequest"].field_violations[0].field == "quality"
    assert {head.disposition for head in items[1].response.heads} == {f.DISPOSITION_ACCEPTED}


def test_a_message_of_20_megabytes_is_refused_and_harms_no_other_call(
    world: World, calls: Calls, database: psycopg.Connection
) -> None:
    before = everything(database)

    with pytest.raises(grpc.RpcError) as raised:
        calls.select(world.policy, vector={"values": [1.0] * 5_000_000})

    assert raised.value.code() is TOO_LARGE
    assert everything(database) == before
    assert calls.select(world.policy).durable


def test_a_name_of_megabytes_comes_back_clipped(calls: Calls) -> None:
    name = "ä" * 500_000

    with pytest.raises(grpc.RpcError) as raised:
        calls.select("nobody", features={name: math.nan})

    code, details = error_of(raised.value)
    assert code is INVALID
    assert details["BadRequest"].field_violations[0].field.startswith("features[ää")


def test_256_removed_arms_fit_into_an_error(calls: Calls, new_policy: Callable[..., str]) -> None:
    policy = new_policy(arms=tuple(f"{n:03d}{'ä' * 197}" for n in range(256)))

    with pytest.raises(grpc.RpcError) as raised:
        calls.select(policy, max_cost_usd=0.0)

    code, details = error_of(raised.value)
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert details["ErrorInfo"].reason == "NO_ELIGIBLE_ARM"
    assert details["PreconditionFailure"].violations[-1].description.endswith("more")
