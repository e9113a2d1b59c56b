"""New arms: several processes together keep to their trials and to what these may cost."""

import math
from collections import Counter
from dataclasses import replace

from bandit.domain.arm import ArmStatus, arm_from_bits
from bandit.routing.budgets import (
    explore_usd_name,
    slots_name,
)
from tests.builders import NOW, a_policy, an_arm
from tests.processes import (
    CHEAP,
    QUOTA,
    World,
)


def with_a_new_arm(**arm):
    new = replace(an_arm("new", price=CHEAP), status=ArmStatus.EXPLORE, **arm)
    arms = [an_arm("old", price=CHEAP), new]
    return replace(a_policy(arms=arms), version=2), new


def play(world, decisions, *, processes=3):
    """Decisions in turn, with an exchange of each process after every third."""
    chosen = Counter()
    for number in range(decisions):
        decision = world.decide(number % processes)
        chosen[world.policy.arm(decision.arm_id).name] += 1
        if number % 3 == 0:
            world.exchange(number // 3 % processes)
    return chosen


def test_three_processes_together_keep_to_the_trials_of_a_new_arm():
    policy, new = with_a_new_arm()
    world = World(policy, processes=3)

    chosen = play(world, 600)

    held = sum(world.processes[each].terms(world.snapshot, NOW).slots[new.id] for each in range(3))
    assert chosen["new"] + held == QUOTA
    assert world.taken(slots_name(new.id)) == QUOTA
    assert chosen["old"] == 600 - chosen["new"]


def test_a_new_arm_is_tried_at_least_once_in_three_decisions_while_it_has_slots():
    policy, new = with_a_new_arm()
    world = World(policy, processes=1)

    propensities = []
    while world.taken(slots_name(new.id)) < QUOTA:
        world.exchange()
        decision = world.decide()
        rows = {arm_from_bits(row["arm"]): row for row in decision.candidates}
        propensities.append(float(rows[new.id]["propensity"]))

    assert min(propensities) >= 1 / 3 - 1e-12


def test_the_trials_of_a_new_arm_cost_no_more_than_they_may():
    policy, new = with_a_new_arm(explore_limit_usd=0.02)
    world = World(policy, processes=3)

    chosen = play(world, 600)

    spent = chosen["new"] * CHEAP.list_usd(1) * math.exp(0.125)
    assert 0 < chosen["new"] <= QUOTA
    assert spent <= 0.02
    assert world.taken(explore_usd_name(new.id)) <= 0.02 + 1e-12


def test_a_decision_that_was_made_before_gives_its_trial_back():
    policy, new = with_a_new_arm()
    world = World(policy, processes=1)
    world.exchange()

    def slots():
        return world.processes[0].terms(world.snapshot, NOW).slots[new.id]

    before = slots()
    decision = world.decide(allow_arms=("new",))
    taken = slots()
    world.processes[0].unbook(policy, decision)

    assert (before, taken, slots()) == (2.0, 1.0, 2.0)
