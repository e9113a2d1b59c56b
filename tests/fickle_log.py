"""A log of decisions that fails, hangs and comes back as a test wants."""

import asyncio

from bandit.domain.decision import Recorded
from bandit.domain.errors import InvalidInput, Unavailable
from bandit.store.memory import MemoryStore


class FickleLog:
    """Implements `DecisionLog` over a store in memory; `written` keeps the order of arrival."""

    def __init__(self):
        self.store = MemoryStore()
        self.written = []
        self.groups = []
        self.is_away = False
        self.loses_answers = False
        self.poison = set()
        self.open = asyncio.Event()
        self.open.set()

    async def record(self, decisions):
        self.groups.append(len(decisions))
        await self.open.wait()
        if self.is_away:
            raise Unavailable("the database is away")
        answers = []
        for decision in decisions:
            if decision.id in self.poison:
                answers.append(InvalidInput("decision_id", "cannot be stored"))
                continue
            held = await self.find(decision.policy_id, [decision.id])
            if held:  # by its id, as a database knows it
                answers.append(Recorded(held[decision.id], replayed=True))
                continue
            answers += self.store.record_now([decision])
            self.written.append(decision)
        if self.loses_answers:
            raise Unavailable("lost after the commit")
        return answers

    async def find(self, policy_id, ids):
        return self.store.find_now(policy_id, ids)
