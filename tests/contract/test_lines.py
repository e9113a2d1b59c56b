"""How long the line of what is to be learned is, as Postgres tells it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
import pytest_asyncio
from sqlalchemy import Engine

from bandit.domain.decision import Decision
from bandit.domain.objective import Objective
from bandit.domain.policy import Policy
from bandit.routing.learner import fold_due
from bandit.store.postgres.catalog import PostgresCatalog
from bandit.store.postgres.decisions import PostgresDecisionLog
from bandit.store.postgres.engine import make_engine
from bandit.store.postgres.learning import PostgresLearning
from bandit.store.postgres.line import Line, lines
from bandit.store.postgres.outcomes import PostgresOutcomeLog
from tests.builders import NOW, a_decision, a_policy, an_event, an_outcome

pytestmark = pytest.mark.asyncio
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class World:
    engine: Engine
    decisions: PostgresDecisionLog
    outcomes: PostgresOutcomeLog

    def new_policy(self) -> Policy:
        policy = a_policy()
        PostgresCatalog(self.engine).create(policy, an_event())
        return policy

    async def told(
        self, policy: Policy, *, at: datetime, until: datetime | None = None
    ) -> Decision:
        """A decision whose quality came at that moment, to be learned at once or then."""
        decision = a_decision(policy)
        await self.decisions.record([decision])
        row = an_outcome(decision, received_at=at)
        held_until = {} if until is None else {(decision.id, Objective.QUALITY): until}
        await self.outcomes.append(policy.id, [row], held_until=held_until)
        return decision

    def line(self, policy: Policy, now: datetime) -> Line:
        (found,) = [line for line in lines(self.engine, now=now) if line.policy_id == policy.id]
        return found


@pytest_asyncio.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    made = World(
        make_engine(database_url),
        PostgresDecisionLog(database_url),
        PostgresOutcomeLog(database_url),
    )
    yield made
    await made.decisions.close()
    await made.outcomes.close()
    made.engine.dispose()


async def test_a_line_is_counted_from_when_its_first_outcome_came(world: World) -> None:
    policy, other = world.new_policy(), world.new_policy()
    for minutes in (3, 1, 2):  # first in line is what was told first, whatever its sender's clock
        await world.told(policy, at=NOW + minutes * MINUTE)

    assert world.line(policy, NOW + 5 * MINUTE) == Line(policy.id, 3, NOW + 3 * MINUTE, 0)
    assert world.line(other, NOW + 5 * MINUTE) == Line(other.id, 0, None, 0)


async def test_what_is_learned_has_left_the_line(world: World) -> None:
    policy = world.new_policy()
    await world.told(policy, at=NOW)

    fold_due(PostgresLearning(world.engine), policy, now=NOW + MINUTE)

    assert world.line(policy, NOW + MINUTE) == Line(policy.id, 0, None, 0)


async def test_what_waits_for_its_window_is_late_from_its_close_on(world: World) -> None:
    policy, close = world.new_policy(), NOW + 60 * MINUTE
    await world.told(policy, at=NOW, until=close)

    assert world.line(policy, close - MINUTE) == Line(policy.id, 0, None, 0)
    assert world.line(policy, close + MINUTE) == Line(policy.id, 1, close, 0)
