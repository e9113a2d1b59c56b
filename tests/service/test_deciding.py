"""Choosing and reporting over a real connection, repeated and on two workers."""

from collections.abc import Callable
from uuid import uuid4

import grpc
import pytest

from bandit.wire import catalog_pb2 as c
from bandit.wire import feedback_pb2 as f
from bandit.wire import router_pb2 as r
from tests.service.calls import Calls, error_of, eventually


def same_but_replayed(first: r.SelectResponse, again: r.SelectResponse) -> bool:
    assert again.replayed
    assert not first.replayed
    expected = r.SelectResponse()
    expected.CopyFrom(first)
    expected.replayed = True
    return expected.SerializeToString(deterministic=True) == again.SerializeToString(
        deterministic=True
    )


def test_a_choice_is_explained_recorded_and_learned_from(calls: Calls, policy: str) -> None:
    chosen = calls.select(policy, explain=True, labels={"tenant": "x"})

    assert chosen.arm in ("a", "b")
    assert chosen.durable
    assert sorted(chosen.ranked) == ["a", "b"]
    assert sum(candidate.propensity for candidate in chosen.candidates) == pytest.approx(1.0)
    assert chosen.propensity in [candidate.propensity for candidate in chosen.candidates]
    receipt = calls.feedback.Report(
        f.ReportRequest(
            policy=policy,
            decision_id=chosen.decision_id,
            arm=chosen.arm,
            quality=0.5,
            cost_usd=0.01,
            latency_ms=100,
        )
    )
    assert [head.disposition for head in receipt.heads] == [f.DISPOSITION_ACCEPTED] * 3
    state = eventually(
        lambda: calls.state(policy),
        lambda state: state.snapshot_version > 0 and state.pending_outcomes == 0,
    )
    (arm,) = [arm for arm in state.arms if arm.arm == chosen.arm]
    assert [head.observations for head in arm.heads] == [1, 1, 1]
    assert 0.5 < arm.heads[0].mean < 0.9


def test_a_report_that_is_repeated_corrected_or_of_another_arm_says_so(
    calls: Calls, policy: str
) -> None:
    chosen = calls.select(policy)

    def reported(arm: str = chosen.arm, sequence: int = 0, quality: float = 0.5) -> list[str]:
        heads = calls.feedback.Report(
            f.ReportRequest(
                policy=policy,
                decision_id=chosen.decision_id,
                arm=arm,
                quality=quality,
                sequence=sequence,
            )
        ).heads
        return [f.Disposition.Name(head.disposition) + ":" + head.reason for head in heads]

    (other,) = {"a", "b"} - {chosen.arm}
    assert reported(sequence=1) == ["DISPOSITION_ACCEPTED:"]
    assert reported(sequence=1, quality=0.1) == ["DISPOSITION_DUPLICATE:"]
    assert reported(sequence=2) == ["DISPOSITION_CORRECTED:"]
    assert reported(sequence=0) == ["DISPOSITION_IGNORED:superseded"]
    assert reported(arm=other) == ["DISPOSITION_IGNORED:other_arm"]


def test_a_preview_shows_what_an_id_would_draw_and_records_nothing(
    calls: Calls, policy: str
) -> None:
    request = r.SelectRequest(
        policy=policy, vector=r.Vector(values=[1, 0, 0]), decision_id=str(uuid4())
    )

    shown = calls.router.Preview(r.PreviewRequest(request=request)).response
    made = calls.router.Select(request)

    assert shown.arm == made.arm
    assert shown.decision_id == ""
    assert not shown.durable
    assert [candidate.arm for candidate in shown.candidates] == list(shown.ranked)
    assert not made.replayed


def test_profiles_and_rules_of_a_policy_decide_its_requests(
    calls: Calls, new_policy: Callable[..., str]
) -> None:
    policy = new_policy(
        profiles={"value": c.Tradeoff(willingness_to_pay_usd=0.02)},
        rules=[c.LabelRule(label="pii", value="yes", arms=["b"])],
    )

    kept = calls.select(policy, labels={"pii": "yes"}, preference_profile="value", explain=True)
    calls.catalog.RemoveArm(c.RemoveArmRequest(policy=policy, arm="b"))

    assert (kept.arm, kept.propensity) == ("b", 1.0)
    assert [candidate.removed_by for candidate in kept.candidates] == ["", "label_rule"]
    best = kept.candidates[0]
    predicted = best.predicted
    value = predicted.quality.mean - predicted.cost_usd.mean / 0.02
    assert best.utility == pytest.approx(value)

    def refusal() -> str:
        with pytest.raises(grpc.RpcError) as error:
            calls.select(policy, labels={"pii": "yes"})
        _, details = error_of(error.value)
        return str(details["ErrorInfo"].reason)

    eventually(refusal, lambda reason: reason == "NO_ELIGIBLE_ARM")
    assert calls.select(policy, labels={"pii": "no"}).arm == "a"


def test_a_switch_cost_is_in_the_utility_and_not_in_the_prediction(
    calls: Calls, policy: str
) -> None:
    chosen = calls.select(
        policy, explain=True, willingness_to_pay_usd=0.1, switch_cost_usd={"a": 0.5}
    )

    utility = {candidate.arm: candidate.utility for candidate in chosen.candidates}
    cost = {candidate.arm: candidate.predicted.cost_usd.mean for candidate in chosen.candidates}
    assert utility["a"] == pytest.approx(utility["b"] - 0.5 / 0.1)
    assert cost["a"] == cost["b"]


def test_a_text_policy_reads_the_text(calls: Calls, new_policy: Callable[..., str]) -> None:
    policy = new_policy(context=c.ContextSettings(text=c.TextContext()))

    items = calls.router.BatchSelect(
        r.BatchSelectRequest(
            requests=[
                r.SelectRequest(policy=policy, text="def f(x): return x", explain=True),
                r.SelectRequest(policy=policy, text="", explain=True),
            ]
        )
    ).items

    assert all(item.response.durable for item in items)


def test_a_repeated_id_gets_the_stored_answer_whole(calls: Calls, policy: str) -> None:
    decision_id = str(uuid4())
    first = calls.select(policy, decision_id=decision_id, explain=True)
    calls.catalog.AddArm(c.AddArmRequest(policy=policy, arm=c.Arm(name="newcomer")))
    calls.catalog.RemoveArm(c.RemoveArmRequest(policy=policy, arm=first.arm))

    again = calls.select(policy, decision_id=decision_id, explain=True)

    assert same_but_replayed(first, again)


@pytest.mark.parametrize(
    ("learned", "later"),
    [
        ([c.OBJECTIVE_QUALITY, c.OBJECTIVE_COST], [c.OBJECTIVE_QUALITY, c.OBJECTIVE_LATENCY]),
        ([], [c.OBJECTIVE_QUALITY, c.OBJECTIVE_COST]),
    ],
)
def test_a_repeated_id_gets_the_stored_answer_whole_though_other_objectives_are_learned_now(
    calls: Calls, new_policy: Callable[..., str], learned: list[int], later: list[int]
) -> None:
    quality = c.Preference(quality=1)
    policy = new_policy(objectives=learned, default_preference=quality)
    decision_id = str(uuid4())
    first = calls.select(policy, decision_id=decision_id, explain=True)
    settings = calls.catalog.GetPolicy(c.GetPolicyRequest(policy=policy)).policy.settings
    settings.ClearField("objectives")
    settings.objectives.extend(later)
    calls.catalog.UpdatePolicy(c.UpdatePolicyRequest(policy=policy, settings=settings))

    again = calls.select(policy, decision_id=decision_id, explain=True)

    assert first.predicted.HasField("latency_ms") is (not learned)
    assert same_but_replayed(first, again)


def test_a_repeated_id_may_ask_for_an_explanation(calls: Calls, policy: str) -> None:
    decision_id = str(uuid4())
    first = calls.select(policy, decision_id=decision_id)

    again = calls.select(policy, decision_id=decision_id, explain=True)

    assert {candidate.arm for candidate in again.candidates} == {"a", "b"}
    again.ClearField("candidates")
    assert same_but_replayed(first, again)


def test_another_worker_gives_the_stored_answer_whole(
    calls: Calls, other_worker: Calls, policy: str
) -> None:
    calls.catalog.AddArm(c.AddArmRequest(policy=policy, arm=c.Arm(name="newcomer")))
    decision_id = str(uuid4())
    first = calls.select(policy, decision_id=decision_id, explain=True)

    again = other_worker.select(policy, decision_id=decision_id, explain=True)

    assert same_but_replayed(first, again)


def test_an_id_used_for_another_request_is_refused(
    calls: Calls, other_worker: Calls, policy: str
) -> None:
    decision_id = str(uuid4())
    calls.select(policy, decision_id=decision_id)

    for worker in (calls, other_worker):
        with pytest.raises(grpc.RpcError) as raised:
            worker.select(policy, decision_id=decision_id, max_cost_usd=5.0)

        code, details = error_of(raised.value)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert details["ErrorInfo"].reason == "DECISION_ID_REUSED"
        assert details["BadRequest"].field_violations[0].field == "decision_id"


def test_a_batch_with_one_id_twice_decides_once(calls: Calls, policy: str) -> None:
    request = r.SelectRequest(
        policy=policy, vector=r.Vector(values=[1, 0, 0]), decision_id=str(uuid4())
    )

    items = calls.router.BatchSelect(r.BatchSelectRequest(requests=[request, request])).items

    assert same_but_replayed(items[0].response, items[1].response)


def test_another_worker_knows_a_policy_made_a_moment_ago(
    calls: Calls, other_worker: Calls, policy: str
) -> None:
    assert other_worker.select(policy).durable


def test_a_price_is_in_force_on_every_worker_within_a_second(
    calls: Calls, other_worker: Calls, policy: str
) -> None:
    def expected_usd(worker: Calls) -> float:
        request = r.SelectRequest(policy=policy, vector=r.Vector(values=[1, 0, 0]))
        shown = worker.router.Preview(r.PreviewRequest(request=request)).response.candidates
        return next(o.predicted.cost_usd.mean for o in shown if o.arm == "a")

    before = expected_usd(other_worker)
    calls.catalog.SetPrice(
        c.SetPriceRequest(
            policy=policy,
            arm="a",
            price=c.Price(input_usd_per_million=100.0, output_usd_per_million=200.0),
        )
    )

    assert expected_usd(calls) == pytest.approx(100 * before)
    eventually(
        lambda: expected_usd(other_worker),
        lambda usd: usd == pytest.approx(100 * before),
        within_s=1.0,
    )


def test_an_archived_policy_decides_no_more_and_can_be_looked_at(calls: Calls, policy: str) -> None:
    calls.catalog.ArchivePolicy(c.ArchivePolicyRequest(policy=policy))

    with pytest.raises(grpc.RpcError) as raised:
        calls.select(policy)
    assert error_of(raised.value)[1]["ErrorInfo"].reason == "UNKNOWN_POLICY"
    assert calls.catalog.GetPolicy(c.GetPolicyRequest(policy=policy)).policy.archived
    listed = calls.catalog.ListPolicies(c.ListPoliciesRequest()).policies
    assert policy not in [each.name for each in listed]


def test_changes_without_an_expected_version_overtake_each_other(calls: Calls, policy: str) -> None:
    pending = [
        calls.catalog.AddArm.future(c.AddArmRequest(policy=policy, arm=c.Arm(name=f"n{n}")))
        for n in range(4)
    ]

    for call in pending:
        call.result()

    made = calls.catalog.GetPolicy(c.GetPolicyRequest(policy=policy)).policy
    assert {"n0", "n1", "n2", "n3"} < {arm.name for arm in made.arms}
    assert made.policy_version == 5


def test_settings_come_back_as_they_were_sent(calls: Calls, new_policy: Callable[..., str]) -> None:
    policy = new_policy(
        algorithm=c.ALGORITHM_LINUCB,
        alpha=0.0,
        context=c.ContextSettings(features=[c.NamedFeature(name="age", mean=3, deviation=2)]),
        objectives=[c.OBJECTIVE_QUALITY, c.OBJECTIVE_COST],
        cost_form=c.COST_FORM_CAPPED_LINEAR,
        half_life_hours=c.HalfLife(quality=12),
    )

    settings = calls.catalog.GetPolicy(c.GetPolicyRequest(policy=policy)).policy.settings
    changed = calls.catalog.UpdatePolicy(
        c.UpdatePolicyRequest(policy=policy, settings=settings, expected_policy_version=1)
    ).policy

    assert changed.settings == settings
    assert changed.policy_version == 2
    assert settings.alpha == 0.0
    assert settings.HasField("alpha")
    assert settings.temperature == 0.25
    assert settings.half_life_hours.quality == 12
    assert not settings.half_life_hours.HasField("cost")
    assert settings.context.features[0].name == "age"
    assert settings.cost_range_usd.high == pytest.approx(9 * settings.cost_range_usd.low)
