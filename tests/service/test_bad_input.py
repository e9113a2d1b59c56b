"""Whatever is wrong with a choice or a report, the caller is told what, and nothing changes."""

import math
from collections.abc import Callable
from typing import Any

import grpc
import psycopg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from bandit.wire import catalog_pb2 as c
from bandit.wire import feedback_pb2 as f
from bandit.wire import learning_pb2
from bandit.wire import router_pb2 as r
from tests.service.calls import Calls, error_of, unpacked
from tests.service.refusals import (
    INVALID,
    LONG,
    MISSING,
    TOO_LARGE,
    Case,
    World,
    assert_refused,
    everything,
    refused,
)

YEAR_1 = -62_135_596_800
YEAR_2201 = 7_289_654_400
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"
OLD_ID = "01800000-0000-7000-8000-000000000000"  # a UUIDv7 of April 2022


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


def vector(*values: float) -> r.Vector:
    return r.Vector(values=values)


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
    refused("unknown profile", select(preference_profile="zzz"), "preference_profile"),
    refused("nameless profile", select(preference_profile=""), "preference_profile"),
    refused("switch to nobody", select(switch_cost_usd={"zzz": 1.0}), "switch_cost_usd[zzz]"),
    refused("negative switch", select(switch_cost_usd={"a": -1.0}), "switch_cost_usd[a]"),
    refused("NaN switch", select(switch_cost_usd={"a": math.nan}), "switch_cost_usd[a]"),
    refused("unlearned switch", plain(switch_cost_usd={"a": 1.0}), "switch_cost_usd"),
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
        lambda w: r.BatchSelectRequest(requests=[r.SelectRequest()] * 1025),
        TOO_LARGE,
        "TOO_LARGE",
    ),
    Case(
        "batch of reports over the limit",
        lambda w: f.BatchReportRequest(requests=[f.ReportRequest()] * 1025),
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
    refused("observed in year 1", report(observed_at=Timestamp(seconds=YEAR_1)), "observed_at"),
    refused("observed in 1969", report(observed_at=Timestamp(seconds=-1)), "observed_at"),
    refused("observed in 2201", report(observed_at=Timestamp(seconds=YEAR_2201)), "observed_at"),
    Case("report to nobody", report(policy="nobody"), MISSING, "UNKNOWN_POLICY"),
    Case("report of an unknown arm", report(arm="zzz"), MISSING, "UNKNOWN_ARM"),
    Case(
        "activation of an unknown decision",
        lambda w: r.ActivateRequest(policy=w.policy, decision_id=UNKNOWN_ID),
        MISSING,
        "UNKNOWN_DECISION",
    ),
    Case(
        "activation by an unknown policy",
        lambda w: r.ActivateRequest(policy="zzz", decision_id=w.decision_id),
        MISSING,
        "UNKNOWN_POLICY",
    ),
    refused(
        "activation of no id",
        lambda w: r.ActivateRequest(policy=w.policy, decision_id="zzz"),
        "decision_id",
    ),
    Case(
        "report of an unknown decision",
        report(decision_id=UNKNOWN_ID),
        MISSING,
        "UNKNOWN_DECISION",
    ),
    # The state
    Case(
        "state of an unknown policy",
        lambda w: learning_pb2.GetStateRequest(policy="nobody"),
        MISSING,
        "UNKNOWN_POLICY",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_request_is_refused_by_name_and_changes_nothing(
    case: Case, world: World, calls: Calls, database: psycopg.Connection
) -> None:
    assert_refused(case, world, calls, database)


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
