"""Limits and trials while many call at once, through two routers that share only the database."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

import numpy as np
import pytest

from bandit.client import (
    Arm,
    AsyncRouterClient,
    Decision,
    LimitExceededError,
    PolicyState,
    RouterError,
    outcome,
    query,
)
from bandit.domain.arm import ArmStatus
from bandit.domain.budget import MOST_WINDOW_HOURS, Budget
from bandit.domain.policy import ContextSettings, ContextSource, PolicySettings, Range
from bandit.domain.preference import Preference
from bandit.domain.price import Price
from services.supervisor import Stack

Clients = Sequence[AsyncRouterClient]

OF_VECTORS = ContextSettings(source=ContextSource.VECTOR, vector_length=3)
VECTOR = [1.0, 2.0, 3.0]

CALLERS, IN_BATCHES, BATCH = 200, 20, 4
# A token costs a whole number of 2^-20 USD, so that sums of costs are exact in floating point.
TOKEN_USD = 2.0**-20
PER_MILLION = 1e6 * TOKEN_USD
LONGEST = 1024  # output tokens
PRICES = {"plain": Price(0.0, PER_MILLION), "fine": Price(0.0, 2 * PER_MILLION)}
LIMIT_USD = 1000 * LONGEST * TOKEN_USD
ANSWERING_S = 0.05
MOST_CALLS = 100  # of one caller: the loop is bounded even where the limit is not kept


@pytest.fixture
async def clients(stack: Stack, other_target: str) -> AsyncIterator[Clients]:
    """One client for each of the two routers."""
    async with (
        AsyncRouterClient(stack.target, timeout_s=30.0) as one,
        AsyncRouterClient(other_target, timeout_s=30.0) as other,
    ):
        yield one, other


@dataclass
class Spending:
    """What callers found out between them."""

    decisions: list[Decision] = field(default_factory=list)
    costs_usd: list[float] = field(default_factory=list)
    began: list[float] = field(default_factory=list)
    refused_at: list[float] = field(default_factory=list)

    @property
    def total_usd(self) -> float:
        """USD that the calls really cost."""
        return sum(self.costs_usd)

    @property
    def above_usd(self) -> float:
        """USD beyond what each call had reserved."""
        pairs = zip(self.costs_usd, self.decisions, strict=True)
        return sum(max(0.0, cost - reserved_usd(decision)) for cost, decision in pairs)

    @property
    def before_refusal_usd(self) -> float:
        """USD of calls that began before anybody was refused."""
        first = min(self.refused_at)
        pairs = zip(self.costs_usd, self.began, strict=True)
        return sum(cost for cost, began in pairs if began < first)


def reserved_usd(decision: Decision) -> float:
    assert decision.budget is not None
    assert decision.budget.reserved_usd is not None
    return decision.budget.reserved_usd


async def limited_policy(clients: Clients, limit_usd: float) -> str:
    """The name of a policy under a limit that both routers serve."""
    name = f"limited-{uuid4().hex[:8]}"
    await clients[0].create_policy(
        name,
        settings=PolicySettings(context=OF_VECTORS),
        arms=[Arm(arm, price=price) for arm, price in PRICES.items()],
    )
    budget = Budget(limit_usd=limit_usd, window_hours=MOST_WINDOW_HOURS)
    changed = await clients[0].set_budget(name, budget)
    for client in clients:
        await until(client, name, lambda state: state.policy_version >= changed.policy_version)
    return name


async def until(
    client: AsyncRouterClient,
    policy: str,
    is_fine: Callable[[PolicyState], bool],
    *,
    within_s: float = 10.0,
) -> PolicyState:
    """The first state that is fine."""
    deadline = time.monotonic() + within_s
    while not is_fine(state := await client.state(policy)):
        assert time.monotonic() < deadline, f"still: {state}"
        await asyncio.sleep(0.02)
    return state


async def chosen(
    client: AsyncRouterClient, policy: str, *, is_batch: bool
) -> list[Decision | RouterError]:
    """One call's decisions, each with a reservation for the longest answer."""
    if is_batch:
        asked = query(policy, vector=VECTOR, input_tokens=1, max_output_tokens=LONGEST)
        return await client.batch_select([asked] * BATCH)
    try:
        decided = await client.select(
            policy, vector=VECTOR, input_tokens=1, max_output_tokens=LONGEST
        )
    except LimitExceededError as error:
        return [error]
    return [decided]


async def spend(
    client: AsyncRouterClient,
    policy: str,
    spending: Spending,
    tokens_of: Callable[[], int],
    *,
    is_batch: bool,
) -> None:
    """Ask, call, report what it cost, and so on until refused."""
    for _ in range(MOST_CALLS):
        began = time.monotonic()
        answers = await chosen(client, policy, is_batch=is_batch)
        reports = []
        for answer in answers:
            if isinstance(answer, RouterError):
                assert isinstance(answer, LimitExceededError), answer
                spending.refused_at.append(time.monotonic())
                continue
            cost_usd = PRICES[answer.arm].usd(1, tokens_of())
            spending.decisions.append(answer)
            spending.costs_usd.append(cost_usd)
            spending.began.append(began)
            assert answer.id is not None
            reports.append(
                outcome(policy, decision_id=answer.id, arm=answer.arm, cost_usd=cost_usd)
            )
        await asyncio.sleep(ANSWERING_S)
        if reports:
            results = await client.batch_report(reports)
            assert not any(isinstance(result, RouterError) for result in results)
        if len(reports) < len(answers):
            return
    raise AssertionError(f"never refused in {MOST_CALLS} calls")


async def spent_by_all(clients: Clients, policy: str, tokens_of: Callable[[], int]) -> Spending:
    """What 200 callers at once spend until each of them was refused."""
    spending, started = Spending(), time.monotonic()
    await asyncio.gather(
        *(
            spend(
                clients[number % len(clients)],
                policy,
                spending,
                tokens_of,
                is_batch=number < IN_BATCHES,
            )
            for number in range(CALLERS)
        )
    )
    seconds = time.monotonic() - started
    arms = Counter(decision.arm for decision in spending.decisions)
    print(
        f"\n{len(spending.decisions)} decisions {dict(arms)} and as many reports by {CALLERS} "
        f"callers in {seconds:.1f} s; {len(spending.refused_at)} refused"
    )
    return spending


async def assert_settled(client: AsyncRouterClient, policy: str, spending: Spending) -> None:
    """Nothing stays taken or booked but what the calls really cost, however they went."""

    def is_settled(state: PolicyState) -> bool:
        told = state.budget
        return (
            told is not None
            and told.window is not None
            and abs(told.window.taken_usd - spending.total_usd) < 1e-9
            and abs(told.spent_usd - spending.total_usd) < 1e-9
        )

    settled = await until(client, policy, is_settled)

    assert settled.budget is not None
    assert settled.budget.decisions == len(spending.decisions)


async def test_many_callers_on_two_routers_never_spend_more_than_the_limit(
    clients: Clients,
) -> None:
    """No call costs more than it reserved: the limit holds to the last bit."""
    random = np.random.default_rng(0)
    policy = await limited_policy(clients, LIMIT_USD)

    spending = await spent_by_all(
        clients, policy, lambda: int(random.integers(LONGEST // 2, LONGEST + 1))
    )

    share, before = spending.total_usd / LIMIT_USD, spending.before_refusal_usd / LIMIT_USD
    print(
        f"spent {spending.total_usd:.6f} <= limit {LIMIT_USD:.6f} USD: {share:.1%}, "
        f"{before:.1%} of it by calls that began before the first refusal"
    )
    assert spending.above_usd == 0.0
    assert spending.total_usd <= LIMIT_USD
    assert before >= 0.8
    await assert_settled(clients[1], policy, spending)


async def test_what_is_spent_beyond_a_limit_is_only_what_calls_cost_beyond_their_reservations(
    clients: Clients,
) -> None:
    """Every fifth call on average costs up to three times what its answer's length allowed."""
    random = np.random.default_rng(1)
    policy = await limited_policy(clients, LIMIT_USD)

    def tokens_of() -> int:
        if random.random() < 0.2:
            return int(random.integers(LONGEST + 1, 3 * LONGEST + 1))
        return int(random.integers(LONGEST // 2, LONGEST + 1))

    spending = await spent_by_all(clients, policy, tokens_of)

    print(
        f"spent {spending.total_usd:.6f} <= limit {LIMIT_USD:.6f} + above reservations "
        f"{spending.above_usd:.6f} = {LIMIT_USD + spending.above_usd:.6f} USD"
    )
    assert spending.above_usd > 0.0
    assert spending.total_usd <= LIMIT_USD + spending.above_usd
    assert spending.total_usd >= 0.8 * LIMIT_USD
    await assert_settled(clients[0], policy, spending)


QUOTA = 20
PACE_PER_S, WAVE, WAVES = 1000, 50, 30
CHEAP, DEAR = Price(1.0, 2.0), Price(10_000.0, 20_000.0)
FRUGAL = Preference(quality=0.2, cost=0.8)


async def decided(
    clients: Clients, policy: str, *, waves: int, pace_per_s: float = PACE_PER_S
) -> tuple[list[Decision], float]:
    """Waves of a batch per router at once, at that pace if they keep up; decisions per second."""
    asked = query(policy, vector=VECTOR)
    made: list[Decision] = []
    started = time.monotonic()
    for wave in range(waves):
        due = started + wave * WAVE * len(clients) / pace_per_s
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        batches = await asyncio.gather(*(client.batch_select([asked] * WAVE) for client in clients))
        for answer in (answer for batch in batches for answer in batch):
            assert not isinstance(answer, RouterError), answer
            made.append(answer)
    return made, len(made) / (time.monotonic() - started)


async def test_a_new_arm_that_nobody_would_choose_is_tried_as_often_as_its_quota(
    clients: Clients,
) -> None:
    """A thousand decisions per second while its outcomes are late; then it stands on its record."""
    policy = f"tried-{uuid4().hex[:8]}"
    await clients[0].create_policy(
        policy,
        settings=PolicySettings(
            context=OF_VECTORS,
            default_preference=FRUGAL,
            cost_range=Range(1e-4, 10.0),
            explore_quota=QUOTA,
        ),
        arms=[Arm("a", price=CHEAP), Arm("b", price=CHEAP)],
    )
    await clients[0].add_arm(policy, Arm("new", price=DEAR))
    for client in clients:
        await until(client, policy, lambda state: len(state.arms) == 3)

    made, per_second = await decided(clients, policy, waves=WAVES)

    tried = [decision for decision in made if decision.arm == "new"]
    print(f"\n{len(made)} decisions, {per_second:.0f} per second; {len(tried)} of the new arm")
    assert QUOTA - 2 <= len(tried) <= QUOTA
    assert all(decision.propensity == pytest.approx(1 / 3) for decision in tried)
    resting = (await clients[1].state(policy)).arms[2]
    assert resting.status is ArmStatus.EXPLORE
    assert resting.exploring is not None
    assert resting.exploring.taken == QUOTA

    reports = [
        outcome(policy, decision_id=str(decision.id), arm="new", quality=0.9, cost_usd=4.0)
        for decision in tried
    ]
    await clients[0].batch_report(reports)
    for client in clients:
        await until(client, policy, lambda state: state.arms[2].status is ArmStatus.ACTIVE)
    later, _ = await decided(clients, policy, waves=4)

    shown = await clients[1].preview(policy, vector=VECTOR)
    (of_new,) = [candidate for candidate in shown.candidates if candidate.arm == "new"]
    assert of_new.removed_by == ""
    assert of_new.propensity < 1e-6
    assert not any(decision.arm == "new" for decision in later)
