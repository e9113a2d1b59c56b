import uuid
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from bandit.domain.arm import ArmStatus, arm_from_bits
from bandit.domain.errors import InvalidInput, NoEligibleArm
from bandit.domain.label_rule import LabelRule
from bandit.domain.objective import Objective
from bandit.domain.policy import Algorithm, PolicySettings, Range
from bandit.domain.preference import Preference, WillingnessToPay
from bandit.domain.price import Price
from bandit.domain.query import Query
from bandit.evaluation.stream import decision_id
from bandit.features.schema import schema_of
from bandit.policies.eligibility import Removal
from bandit.routing.deciding import decide, validate
from bandit.routing.snapshot import snapshot_of
from tests.builders import A_CONTEXT, NOW, a_policy, an_arm

CONTEXT = np.array([0.5, -0.5, 1.0, 1.0], dtype=np.float32)
VECTOR = np.array([1.0, 2.0, 3.0])
FOR_QUALITY = Preference(quality=1.0)


def a_snapshot(policy):
    return snapshot_of(policy, learned_version=0, changed={}, previous=None, now=NOW)


def three_arms(**settings):
    """Arms that differ in price alone; without outcomes cheaper is better."""
    arms = [
        an_arm("middle", price=Price(2.0, 8.0)),
        an_arm("dear", price=Price(20.0, 80.0)),
        an_arm("cheap", price=Price(0.2, 0.8)),
    ]
    return a_policy(settings=PolicySettings(context=A_CONTEXT, **settings), arms=arms)


def chosen(snapshot, *, id=None, **query):
    return decide(
        snapshot,
        Query(policy="p", **query),
        CONTEXT,
        decision_id=id if id is not None else decision_id(0, 0),
        at=NOW,
    ).decision


def names(policy, decision):
    return [policy.arm(arm_from_bits(row["arm"])).name for row in decision.candidates]


def test_candidates_are_ranked_by_utility():
    policy = three_arms()

    decision = chosen(a_snapshot(policy))

    assert names(policy, decision) == ["cheap", "middle", "dear"]
    assert (np.diff(decision.candidates["utility"]) < 0).all()


def test_removed_arms_stand_last_with_the_filter_that_removed_them():
    policy = three_arms()

    decision = chosen(a_snapshot(policy), deny_arms=("cheap",))

    assert names(policy, decision) == ["middle", "dear", "cheap"]
    assert decision.candidates["removed_by"].tolist() == [0, 0, Removal.DENY_ARMS]
    assert decision.candidates["propensity"][2] == 0.0


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_the_propensity_is_that_of_the_chosen_candidate(algorithm):
    policy = three_arms(algorithm=algorithm, epsilon=0.3)
    snapshot = a_snapshot(policy)

    decisions = [chosen(snapshot, id=decision_id(0, number)) for number in range(20)]

    for decision in decisions:
        assert decision.propensity == decision.chosen["propensity"] > 0
        assert decision.candidates["propensity"].sum() == pytest.approx(1.0)
        assert arm_from_bits(decision.chosen["arm"]) == decision.arm_id


def test_without_any_eligible_arm_the_refusal_names_each_filter():
    arms = [
        an_arm("small", context_window_tokens=10),
        an_arm("shadow", status=ArmStatus.SHADOW),
        an_arm("large"),
    ]
    snapshot = a_snapshot(a_policy(arms=arms))

    with pytest.raises(NoEligibleArm) as refusal:
        chosen(snapshot, input_tokens=1000, deny_arms=("large",))

    assert refusal.value.removed == {
        "small": "context_window",
        "shadow": "status",
        "large": "deny_arms",
    }


def test_a_policy_without_arms_has_no_eligible_arm():
    snapshot = a_snapshot(a_policy(arms=[]))

    with pytest.raises(NoEligibleArm, match="there is none"):
        chosen(snapshot)


def test_the_same_id_gets_the_same_arm_and_ids_get_different_arms():
    snapshot = a_snapshot(three_arms(algorithm=Algorithm.UNIFORM))
    ids = [uuid.uuid4() for _ in range(60)]

    once, again = ([chosen(snapshot, id=each).arm_id for each in ids] for _ in range(2))

    # One of three arms is absent from 60 uniform draws with probability 3 (2/3)^60 < 1e-10.
    assert once == again
    assert len(set(once)) == 3


def test_a_change_of_preference_changes_the_ranking_and_no_state():
    policy = three_arms()
    snapshot = a_snapshot(policy)
    before = [snapshot.means.copy(), snapshot.covariances.copy(), snapshot.noise.copy()]

    thrifty = chosen(snapshot, tradeoff=Preference(quality=0.1, cost=0.9))
    willing = chosen(snapshot, tradeoff=WillingnessToPay(1e6))

    for held, now in zip(
        before, (snapshot.means, snapshot.covariances, snapshot.noise), strict=True
    ):
        assert_array_equal(held, now)
    assert names(policy, thrifty) == ["cheap", "middle", "dear"]
    assert_allclose(willing.candidates["utility"], 0.9, atol=1e-6)


def test_a_decision_records_what_it_was_made_from():
    policy = three_arms()

    decision = chosen(
        a_snapshot(policy),
        allow_arms=("middle",),
        input_tokens=1000,
        labels={"team": "a"},
        fingerprint=b"hash",
        tradeoff=FOR_QUALITY,
    )

    assert decision.arm_id == policy.arms[0].id
    assert decision.propensity == 1.0
    assert decision.list_usd == pytest.approx((2 * 1000 + 8 * 200) / 1e6)
    assert decision.price == Price(2.0, 8.0)
    assert decision.schema_id == schema_of(A_CONTEXT).id
    assert (decision.input_tokens, decision.fingerprint) == (1000, b"hash")
    assert (decision.tradeoff, decision.labels) == (FOR_QUALITY, {"team": "a"})
    assert (decision.policy_version, decision.snapshot_version) == (1, 0)
    assert_array_equal(decision.context, CONTEXT)


def test_the_policys_default_preference_stands_in_for_none():
    policy = three_arms(default_preference=FOR_QUALITY)

    decision = chosen(a_snapshot(policy))

    assert decision.tradeoff == FOR_QUALITY


def test_a_profile_stands_for_its_trade_off_and_the_decision_records_that():
    policy = three_arms(profiles={"best": FOR_QUALITY, "value": WillingnessToPay(0.02)})
    snapshot = a_snapshot(policy)

    best = chosen(snapshot, preference_profile="best")
    value = chosen(snapshot, preference_profile="value")

    assert best.tradeoff == FOR_QUALITY
    assert value.tradeoff == WillingnessToPay(0.02)
    same = chosen(snapshot, tradeoff=WillingnessToPay(0.02))
    assert value.candidates.tobytes() == same.candidates.tobytes()


def test_a_label_rule_is_kept_to_and_fails_closed_when_its_arms_are_gone():
    policy = three_arms(rules=(LabelRule("pii", "yes", ("dear",)),))
    retired = replace(policy.arms[1], status=ArmStatus.RETIRED)
    without = replace(policy, arms=(policy.arms[0], retired, policy.arms[2]))

    decision = chosen(a_snapshot(policy), labels={"pii": "yes"})

    assert names(policy, decision)[0] == "dear"
    assert decision.propensity == 1.0
    assert decision.candidates["removed_by"].tolist() == [0, Removal.LABEL_RULE, Removal.LABEL_RULE]
    assert chosen(a_snapshot(without), labels={"pii": "no"}).propensity > 0
    with pytest.raises(NoEligibleArm, match="by label_rule"):
        chosen(a_snapshot(without), labels={"pii": "yes"})


def test_a_switch_cost_counts_in_utility_and_limits_but_not_in_the_prediction():
    policy = three_arms(cost_range=Range(1e-4, 1e-1))
    snapshot = a_snapshot(policy)

    plain = chosen(snapshot, tradeoff=WillingnessToPay(0.01))
    sticky = chosen(snapshot, tradeoff=WillingnessToPay(0.01), switch_cost_usd={"cheap": 0.02})

    assert names(policy, plain) == ["cheap", "middle", "dear"]
    assert names(policy, sticky) == ["middle", "dear", "cheap"]
    cheap, moved = plain.candidates[0], sticky.candidates[2]
    assert moved["utility"] == pytest.approx(cheap["utility"] - 0.02 / 0.01)
    assert_array_equal(moved["mean"], cheap["mean"])
    assert_array_equal(moved["deviation"], cheap["deviation"])
    limited = chosen(snapshot, max_cost_usd=0.01, switch_cost_usd={"cheap": 0.02})
    removed_by = dict(
        zip(names(policy, limited), limited.candidates["removed_by"].tolist(), strict=True)
    )
    assert removed_by["cheap"] == Removal.MAX_COST
    assert removed_by["middle"] == Removal.NONE


def test_the_propensity_under_a_switch_cost_is_that_of_the_draw():
    policy = three_arms(temperature=100.0)
    snapshot = a_snapshot(policy)
    ids = [decision_id(0, number) for number in range(2000)]

    decisions = [chosen(snapshot, id=each, switch_cost_usd={"cheap": 0.05}) for each in ids]

    plain = chosen(snapshot).candidates["propensity"][0]
    ranked = names(policy, decisions[0])
    propensities = decisions[0].candidates["propensity"]
    expected = float(propensities[ranked.index("cheap")])
    share = np.mean([decision.arm_id == policy.arms[2].id for decision in decisions])
    assert expected < plain
    # Four standard errors of a frequency over independent draws.
    assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / len(ids))


def test_the_utility_of_an_untried_arm_worked_out_by_hand():
    """u = .8 * .9 - .2 phi(c), c = list exp(.125), list = (2 * 200 + 8 * 200) / 1e6."""
    policy = three_arms(cost_range=Range(1e-4, 1e-2))

    decision = chosen(a_snapshot(policy), allow_arms=("middle",), input_tokens=200)

    cost = (2 * 200 + 8 * 200) / 1e6 * np.exp(0.125)
    phi = np.log(cost / 1e-4) / np.log(100)
    assert decision.chosen["utility"] == pytest.approx(0.8 * 0.9 - 0.2 * phi)
    assert decision.chosen["mean"][1] == pytest.approx(cost)


@pytest.mark.parametrize(
    ("field", "query"),
    [
        ("vector", {}),
        ("vector.values", {"vector": np.ones(2)}),
        ("text", {"vector": VECTOR, "text": "x"}),
        ("allow_arms[0]", {"vector": VECTOR, "allow_arms": ("other",)}),
        ("max_latency_ms", {"vector": VECTOR, "max_latency_ms": 1.0}),
        ("preference.latency", {"vector": VECTOR, "tradeoff": Preference(1, 0, 1)}),
        ("preference_profile", {"vector": VECTOR, "preference_profile": "other"}),
        ("switch_cost_usd[other]", {"vector": VECTOR, "switch_cost_usd": {"other": 1.0}}),
    ],
)
def test_a_query_that_this_policy_cannot_answer_is_refused_by_field(field, query):
    snapshot = a_snapshot(three_arms(objectives=(Objective.QUALITY, Objective.COST)))

    with pytest.raises(InvalidInput) as refusal:
        validate(snapshot, Query(policy="p", **query))

    assert refusal.value.field == field


def test_a_willingness_to_pay_is_refused_where_cost_is_not_learned():
    settings = {"objectives": (Objective.QUALITY,), "default_preference": FOR_QUALITY}
    snapshot = a_snapshot(three_arms(**settings))
    query = Query(policy="p", vector=VECTOR, tradeoff=WillingnessToPay(0.01))

    with pytest.raises(InvalidInput) as refusal:
        validate(snapshot, query)

    assert refusal.value.field == "willingness_to_pay_usd"


def test_an_arm_that_is_scored_but_never_chosen_stays_among_the_candidates():
    policy = three_arms(algorithm=Algorithm.UNIFORM)
    shadowed = replace(policy.arms[2], status=ArmStatus.SHADOW)
    snapshot = a_snapshot(replace(policy, arms=(*policy.arms[:2], shadowed)))

    decision = chosen(snapshot)

    assert len(decision.candidates) == 3
    assert decision.candidates["removed_by"][2] == Removal.STATUS
    assert decision.candidates["utility"][2] > decision.candidates["utility"][0]
