"""Several processes that spend from one ledger, for tests of what they keep to together."""

from dataclasses import replace

import numpy as np

from bandit.domain.budget import Budget
from bandit.domain.errors import BudgetExhausted, NoEligibleArm
from bandit.domain.objective import Objective
from bandit.domain.policy import PolicySettings
from bandit.domain.price import Price
from bandit.domain.query import Query
from bandit.routing.budgets import (
    Budgets,
)
from bandit.routing.deciding import decide
from bandit.routing.learner import fold_due
from bandit.routing.snapshot import snapshot_of
from bandit.store.memory import MemoryStore
from tests.builders import A_CONTEXT, NOW, a_policy, a_uuid7, an_arm, an_event, an_outcome

CONTEXT = np.array([0.5, -0.5, 1.0, 1.0], dtype=np.float32)
TARGET_USD = 0.004
TARGETED = Budget(target_usd=TARGET_USD)
LIMITED = Budget(limit_usd=0.5)
CHEAP, DEAR = Price(1.0, 4.0), Price(10.0, 40.0)
QUOTA = 20


def a_budgeted_policy(budget, *, arms=None, **settings):
    arms = arms or [an_arm("cheap", price=CHEAP), an_arm("dear", price=DEAR)]
    policy = a_policy(settings=PolicySettings(context=A_CONTEXT, **settings), arms=arms)
    return replace(policy, budget=budget, budget_epoch=2, version=2)


class World:
    """Some processes that share a store in memory."""

    def __init__(self, policy, processes=2):
        self.store = MemoryStore()
        self.store.create(policy, an_event())
        self.processes = [Budgets() for _ in range(processes)]
        self.now = NOW
        self.publish(policy)

    def publish(self, policy):
        self.policy = policy
        self.snapshot = snapshot_of(
            policy, learned_version=0, changed={}, previous=None, now=self.now
        )

    def decide(self, process=0, *, lease=True, is_kept=True, **query):
        """
        As the router does it: once more after a lease.  None: no arm was left.

        is_kept  False: it turns out to have been made before
        """
        budgets = self.processes[process]
        try:
            decided = self._decided(budgets, query)
            lacking_usd = decided.lacking_usd
        except BudgetExhausted as error:
            decided, lacking_usd = None, error.lacking_usd
        except NoEligibleArm:
            return None
        if lacking_usd > 0 and lease:
            wish = budgets.wish_for(self.snapshot, lacking_usd, self.now)
            if wish is not None:
                budgets.told([wish], self.store.exchange_now([wish]), self.now)
            try:
                decided = self._decided(budgets, query)
            except BudgetExhausted:
                return None
        if decided is None:
            return None
        budgets.book(self.snapshot, decided)
        if not is_kept:
            budgets.unbook(self.policy, decided.decision)
            return None
        self.store.record_now([decided.decision])
        return decided.decision

    def _decided(self, budgets, query):
        return decide(
            self.snapshot,
            Query(policy=self.policy.name, **query),
            CONTEXT,
            decision_id=a_uuid7(self.now),
            at=self.now,
            terms=budgets.terms(self.snapshot, self.now),
        )

    def begin(self, process=0):
        return self.processes[process].asked([self.policy], self.now)

    def end(self, wishes, process=0):
        self.processes[process].told(wishes, self.store.exchange_now(wishes), self.now)

    def exchange(self, process=0):
        self.end(self.begin(process), process)

    def account(self, process=0):
        return self.processes[process].terms(self.snapshot, self.now).account

    def in_hand(self, process=0):
        return self.processes[process].terms(self.snapshot, self.now).lease_usd

    def taken(self, name):
        held = self.store.allowances(self.policy.id).get(name)
        return 0.0 if held is None else held.taken

    def learn(self, decision, cost_usd):
        self.store.append_now(
            self.policy.id,
            [an_outcome(decision, Objective.COST, value=cost_usd, received_at=self.now)],
        )
        fold_due(self.store, self.policy, now=self.now)


def expected_usd(decisions):
    return sum(decision.charge.expected_usd for decision in decisions)


def as_tuple(account):
    return (account.balance, account.decisions, account.spent_usd)


def limit_name(world):
    return world.policy.budget.limit_name(world.now)
