from dataclasses import replace
from datetime import timedelta

import pytest

from bandit.domain.arm import ArmStatus
from bandit.domain.errors import UnknownArm, UnknownDecision, UnknownPolicy
from bandit.domain.objective import Objective
from bandit.domain.outcome import Disposition, Receipt, Report
from bandit.domain.policy import PolicySettings
from bandit.domain.price import Price
from bandit.domain.reward_window import Deadline
from bandit.evaluation.stream import decision_id
from bandit.routing.feedback import Feedback, disposition_of, values_of
from bandit.store.memory import MemoryStore
from tests.builders import A_CONTEXT, NOW, a_decision, a_policy, a_uuid7, an_arm, an_event

QUALITY, COST, LATENCY = Objective
ACCEPTED, DUPLICATE, CORRECTED, IGNORED = Disposition


class KnownPolicies:
    """Implements `Policies`."""

    def __init__(self, *policies):
        self._policies = {policy.name: policy for policy in policies}

    def policy(self, name):
        if name not in self._policies:
            raise UnknownPolicy(name)
        return self._policies[name]


class World:
    """A policy with one stored decision, and its feedback."""

    def __init__(self, policy=None, **decision):
        self.policy = policy or a_policy("chat")
        self.store = MemoryStore()
        self.store.create(self.policy, an_event())
        self.decision = self.decided(**decision)
        self.now = NOW
        self.feedback = Feedback(
            KnownPolicies(self.policy), self.store, self.store, clock=lambda: self.now
        )

    def decided(self, **changes):
        decision = a_decision(self.policy, **changes)
        self.store.record_now([decision])
        return decision

    def a_report(self, decision=None, **changes):
        decision = decision or self.decision
        told = {"policy": "chat", "arm": "small", "quality": 0.5, **changes}
        return Report(decision_id=decision.id, **told)

    async def tell(self, *reports):
        return await self.feedback.report(reports)

    async def tell_one(self, **changes):
        [answer] = await self.tell(self.a_report(**changes))
        return answer

    def is_untouched(self):
        return self.store.pending(self.policy.id) == 0


def test_what_becomes_of_a_sequence():
    """Nothing held: accepted; held: duplicate; above all held: corrected; else superseded."""
    cases = [(3, []), (3, [3]), (3, [1, 3, 5]), (3, [1, 2]), (3, [5]), (3, [1, 5])]

    dispositions = [disposition_of(sequence, held) for sequence, held in cases]

    assert dispositions == [ACCEPTED, DUPLICATE, DUPLICATE, CORRECTED, IGNORED, IGNORED]


async def test_a_value_is_accepted_corrected_repeated_and_superseded():
    world = World()
    sequences = [1, 1, 2, 1, 0]

    answers = [await world.tell_one(sequence=sequence) for sequence in sequences]

    found = [receipt.disposition for [receipt] in answers]
    assert found == [ACCEPTED, DUPLICATE, CORRECTED, DUPLICATE, IGNORED]
    assert answers[-1] == [Receipt(QUALITY, IGNORED, "superseded")]


async def test_reports_of_one_batch_see_those_before_them():
    world = World()
    reports = [world.a_report(sequence=sequence) for sequence in (1, 1, 2)]

    answers = await world.tell(*reports)

    found = [receipt.disposition for [receipt] in answers]
    assert found == [ACCEPTED, DUPLICATE, CORRECTED]


async def test_each_source_has_its_own_sequences():
    world = World()

    answers = [await world.tell_one(source=source) for source in ("judge", "user")]

    assert [receipt.disposition for [receipt] in answers] == [ACCEPTED, ACCEPTED]


async def test_every_head_of_a_report_gets_its_receipt():
    world = World()

    receipts = await world.tell_one(quality=0.5, cost_usd=0.001, latency_ms=700.0)

    assert receipts == [Receipt(head, ACCEPTED) for head in (QUALITY, COST, LATENCY)]
    assert world.store.pending(world.policy.id) == 3


async def test_outcomes_of_another_arm_than_the_chosen_one_are_ignored():
    world = World()

    receipts = await world.tell_one(arm="large", latency_ms=700.0)

    assert receipts == [Receipt(head, IGNORED, "other_arm") for head in (QUALITY, LATENCY)]
    assert world.is_untouched()


async def test_heads_that_are_not_learned_are_ignored():
    settings = PolicySettings(context=A_CONTEXT, objectives=(QUALITY, COST))
    world = World(a_policy("chat", settings=settings))

    receipts = await world.tell_one(latency_ms=700.0)

    assert set(receipts) == {
        Receipt(QUALITY, ACCEPTED),
        Receipt(LATENCY, IGNORED, "unknown_head"),
    }


@pytest.mark.parametrize(
    ("report", "values"),
    [
        ({"failed": True}, {QUALITY: 0.0}),
        ({"failed": True, "quality": 0.4}, {QUALITY: 0.4}),
        ({"failed": True, "latency_ms": 9.0}, {QUALITY: 0.0, LATENCY: 9.0}),
        ({"quality": 0.4}, {QUALITY: 0.4}),
        ({"cost_usd": 0.0}, {COST: 0.0}),
        ({"output_tokens": 500}, {COST: (2 * 1000 + 10 * 500) / 1e6 + 0.01}),
        ({"output_tokens": 500, "cost_usd": 0.3}, {COST: 0.3}),
    ],
)
def test_the_values_that_a_report_brings(report, values):
    """Tokens cost (2 * 1000 in + 10 * 500 out) / 1e6 + .01 at the price of the decision."""
    arm = an_arm("small", price=Price(2.0, 10.0, fee_usd=0.01))
    decision = a_decision(a_policy(arms=[arm]), input_tokens=1000)

    found = values_of(
        Report(policy="chat", decision_id=decision.id, arm="small", **report), decision
    )

    assert found == pytest.approx(values)


def test_tokens_of_an_arm_without_a_price_cost_nothing_known():
    decision = a_decision(a_policy(arms=[an_arm("small", price=None)]))

    found = values_of(
        Report(policy="chat", decision_id=decision.id, arm="small", output_tokens=5), decision
    )

    assert found == {}


async def test_tokens_are_charged_at_the_price_in_force_at_the_decision():
    world = World()
    assert world.decision.price == Price(1.0, 4.0)
    repriced = replace(world.policy.arms[0], prices=())
    renamed = replace(world.policy, arms=(repriced, world.policy.arms[1]), version=2)
    feedback = Feedback(KnownPolicies(renamed), world.store, world.store, clock=lambda: NOW)

    [receipts] = await feedback.report([world.a_report(quality=None, output_tokens=250)])

    assert receipts == [Receipt(COST, ACCEPTED)]
    with world.store.begin(world.policy.id) as fold:
        [row] = fold.outcomes([(world.decision.id, COST)])[world.decision.id, COST]
    assert row.value == pytest.approx((1000 + 4 * 250) / 1e6)


async def test_a_dry_run_answers_the_same_and_changes_nothing():
    world = World()
    await world.tell_one(sequence=1)
    pending = world.store.pending(world.policy.id)

    answers = [await world.tell_one(sequence=sequence, dry_run=True) for sequence in (0, 1, 2, 2)]

    found = [receipt.disposition for [receipt] in answers]
    assert found == [IGNORED, DUPLICATE, CORRECTED, CORRECTED]
    assert world.store.pending(world.policy.id) == pending
    [receipt] = await world.tell_one(sequence=2)
    assert receipt.disposition is CORRECTED


@pytest.mark.parametrize(
    ("id_", "is_fresh"),
    [
        (a_uuid7(NOW - timedelta(seconds=59)), True),
        (a_uuid7(NOW - timedelta(seconds=61)), False),
        (a_uuid7(NOW + timedelta(seconds=5)), True),
        (decision_id(0, 0), False),
    ],
    ids=["just made", "made a minute ago", "made by a fast clock", "without a moment"],
)
async def test_an_unknown_decision_is_fresh_if_it_may_still_be_on_its_way(id_, is_fresh):
    world = World()
    report = replace(world.a_report(), decision_id=id_)

    [refusal] = await world.tell(report)

    assert isinstance(refusal, UnknownDecision)
    assert refusal.is_fresh is is_fresh


async def test_a_bad_report_harms_no_other():
    world = World()
    reports = [
        world.a_report(policy="other"),
        world.a_report(),
        world.a_report(arm="nobody"),
        replace(world.a_report(), decision_id=decision_id(0, 0)),
        world.a_report(latency_ms=5.0, quality=None),
    ]

    answers = await world.tell(*reports)

    refused = [type(answer) for answer in answers if isinstance(answer, Exception)]
    assert refused == [UnknownPolicy, UnknownArm, UnknownDecision]
    assert answers[1] == [Receipt(QUALITY, ACCEPTED)]
    assert answers[4] == [Receipt(LATENCY, ACCEPTED)]


async def test_outcomes_of_an_arm_retired_meanwhile_are_still_taken():
    policy = a_policy("chat", arms=[an_arm("small", status=ArmStatus.RETIRED), an_arm("large")])
    world = World(policy)

    receipts = await world.tell_one()

    assert receipts == [Receipt(QUALITY, ACCEPTED)]


async def test_no_reports_get_no_answers():
    assert await World().tell() == []


def waiting(default=0.25):
    """A world whose decision has an hour's window for quality."""
    return World(deadlines={QUALITY: Deadline(NOW + timedelta(hours=1), default)})


@pytest.mark.parametrize("default", [None, 0.25])
async def test_an_outcome_counts_up_to_the_last_moment_of_its_window_and_is_late_after(default):
    on_time, late = waiting(default), waiting(default)
    on_time.now = NOW + timedelta(hours=1)
    late.now = on_time.now + timedelta(microseconds=1)

    assert await on_time.tell_one() == [Receipt(QUALITY, ACCEPTED)]
    assert await late.tell_one() == [Receipt(QUALITY, IGNORED, "late")]
    with late.store.begin(late.policy.id) as fold:
        assert fold.outcomes([(late.decision.id, QUALITY)]) == {(late.decision.id, QUALITY): []}


async def test_each_head_has_a_window_of_its_own():
    world = waiting()
    world.now = NOW + timedelta(hours=2)

    receipts = await world.tell_one(latency_ms=700.0, cost_usd=0.01)

    assert receipts == [
        Receipt(QUALITY, IGNORED, "late"),
        Receipt(COST, ACCEPTED),
        Receipt(LATENCY, ACCEPTED),
    ]


async def test_what_was_counted_in_time_is_a_duplicate_when_it_is_sent_again_late():
    """A sender who lost the first answer must not be told that the outcome was ignored."""
    world = waiting()
    await world.tell_one(sequence=3)
    world.now = NOW + timedelta(hours=2)

    answers = await world.tell(
        *(world.a_report(sequence=sequence) for sequence in (3, 3, 4, 4, 0)),
    )

    assert answers == [
        [Receipt(QUALITY, DUPLICATE)],
        [Receipt(QUALITY, DUPLICATE)],
        [Receipt(QUALITY, IGNORED, "late")],
        [Receipt(QUALITY, IGNORED, "late")],
        [Receipt(QUALITY, IGNORED, "late")],
    ]


async def test_outcomes_of_a_head_with_a_default_are_due_when_its_window_closes():
    world = waiting()
    await world.tell_one(cost_usd=0.01)

    def due(now):
        with world.store.begin(world.policy.id) as fold:
            return {item.key[1] for item in fold.due(now=now, limit=9)}

    assert due(NOW + timedelta(minutes=59)) == {COST}
    assert due(NOW + timedelta(hours=1)) == {QUALITY, COST}
