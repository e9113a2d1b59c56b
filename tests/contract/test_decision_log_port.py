"""The port `DecisionLog`."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import numpy as np
import pytest

from bandit.domain.errors import InvalidInput
from bandit.domain.preference import Preference, WillingnessToPay
from tests.builders import NOW, a_decision, a_policy, a_uuid7, an_arm
from tests.contract.comparing import assert_same_decision

pytestmark = pytest.mark.asyncio

FAR_FUTURE = UUID("ffffffff-ffff-7fff-bfff-ffffffffffff")


async def test_a_decision_comes_back_as_it_was_made(store):
    policy = store.with_policy(a_policy(arms=(an_arm(price=None), an_arm("b"))))
    rng = np.random.default_rng(1)
    decisions = [
        a_decision(policy, tradeoff=WillingnessToPay(3), labels={"tenant": "ä", "nul": "\0\ud800"}),
        a_decision(policy, tradeoff=Preference(1 / 3, 1 / 7, 0.1), arm=policy.arms[1]),
        a_decision(policy, context=rng.standard_normal(4), fingerprint=b"\0\xff", id=uuid4()),
    ]

    recorded = await store.decisions.record(decisions)
    found = await store.decisions.find(policy.id, [decision.id for decision in decisions])

    assert [answer.replayed for answer in recorded] == [False, False, False]
    assert all(answer.durable for answer in recorded)
    for decision, answer in zip(decisions, recorded, strict=True):
        assert_same_decision(answer.decision, decision)
        assert_same_decision(found[decision.id], decision)


async def test_decisions_of_several_policies_go_in_one_call(store):
    first, second = a_decision(store.with_policy()), a_decision(store.with_policy())

    await store.decisions.record([first, second])

    assert list(await store.decisions.find(first.policy_id, [first.id, second.id])) == [first.id]
    assert list(await store.decisions.find(second.policy_id, [first.id, second.id])) == [second.id]


async def test_one_id_may_serve_two_policies(store):
    first, second = store.with_policy(), store.with_policy()
    id_ = a_uuid7()

    recorded = await store.decisions.record([a_decision(first, id=id_), a_decision(second, id=id_)])

    assert [answer.replayed for answer in recorded] == [False, False]


async def test_an_id_keeps_its_first_decision(store, policy):
    first = await store.with_decision(policy, propensity=0.25)
    second = a_decision(policy, id=first.id, propensity=0.75, fingerprint=b"other")

    (answer,) = await store.decisions.record([second])

    assert answer.replayed
    assert_same_decision(answer.decision, first)
    assert_same_decision((await store.decisions.find(policy.id, [first.id]))[first.id], first)


async def test_of_two_of_one_id_in_one_call_the_first_is_stored(store, policy):
    first = a_decision(policy, propensity=0.25)
    between = a_decision(policy)
    second = a_decision(policy, id=first.id, propensity=0.75)

    answers = await store.decisions.record([first, between, second])

    assert [answer.replayed for answer in answers] == [False, False, True]
    assert_same_decision(answers[2].decision, first)


async def test_nothing_recorded_is_nothing_answered(store):
    assert list(await store.decisions.record([])) == []


async def test_an_id_of_a_day_that_cannot_be_harms_no_other(store, policy):
    decisions = [a_decision(policy), a_decision(policy, id=FAR_FUTURE), a_decision(policy)]

    answers = await store.decisions.record(decisions)

    assert isinstance(answers[1], InvalidInput)
    assert answers[1].field == "decision_id"
    found = await store.decisions.find(policy.id, [decision.id for decision in decisions])
    assert set(found) == {decisions[0].id, decisions[2].id}


async def test_ids_that_are_not_stored_are_not_found(store, policy):
    old = a_uuid7(datetime(2001, 1, 1, tzinfo=UTC))

    found = await store.decisions.find(policy.id, [a_uuid7(), uuid4(), old, FAR_FUTURE])

    assert found == {}
    assert await store.decisions.find(policy.id, []) == {}


async def test_days_do_not_mix(store, policy):
    moments = [NOW - timedelta(days=1), NOW, NOW + timedelta(days=1)]
    decisions = [a_decision(policy, at=at) for at in moments]

    await store.decisions.record(decisions)

    found = await store.decisions.find(policy.id, {decision.id for decision in decisions})
    assert {id_: held.at for id_, held in found.items()} == {d.id: d.at for d in decisions}


async def test_of_fifty_at_once_with_one_id_one_is_stored(store, policy):
    id_ = a_uuid7()
    rivals = [a_decision(policy, id=id_, propensity=(n + 1) / 51) for n in range(50)]

    answers = await asyncio.gather(*(store.decisions.record([rival]) for rival in rivals))

    stored = (await store.decisions.find(policy.id, [id_]))[id_]
    assert sum(not answer.replayed for (answer,) in answers) == 1
    assert {answer.decision.propensity for (answer,) in answers} == {stored.propensity}


async def test_a_thousand_go_in_one_call(store, policy):
    decisions = [a_decision(policy) for _ in range(1000)]

    answers = await store.decisions.record([*decisions, decisions[0]])

    assert not any(answer.replayed for answer in answers[:1000])
    assert len(await store.decisions.find(policy.id, [d.id for d in decisions])) == 1000
