"""The stream that `demo` plays under a budget, with a policy of its own that starts cold."""

from collections.abc import Callable

import numpy as np

from bandit.client import RouterClient
from bandit.domain.budget import Budget
from bandit.domain.policy import PolicySettings
from bandit.domain.preference import Preference
from bandit.domain.price import Price
from bandit.evaluation.regret import measured
from bandit.evaluation.replay import play
from bandit.evaluation.stream import StreamSettings, stream_of
from bandit.evaluation.table import OutcomeTable, subset
from bandit.policies.utility import Normaliser
from services.cli.demo_preview import previewed
from services.cli.demo_result import UnderBudget
from services.replaying import TargetRouter

POLICY = "demo-budget"
# USD per prompt: the cheapest model costs a ninth of it, the next one twice as much.
BUDGET = Budget(target_usd=0.00025)
PROMPTS = 1000


def play_under_budget(
    client: RouterClient,
    stream: OutcomeTable,
    held_out: OutcomeTable,
    settings: PolicySettings,
    prices: dict[str, Price],
    normaliser: Normaliser,
    *,
    seed: int,
    mean_delay: float,
    wave: int,
    on_prompts: Callable[[int], None],
) -> UnderBudget:
    """
    Play the first prompts of the stream in an order of their own; all of them are measured.

    Quality alone is asked for: the budget says what it may cost.
    """
    table = subset(stream, np.arange(min(PROMPTS, len(stream))))
    steps = stream_of(
        len(table),
        StreamSettings(tradeoffs=(Preference(quality=1.0),), delay=mean_delay),
        seed=seed,
    )
    router = TargetRouter(
        client,
        table,
        settings,
        prices,
        vectors=None,
        seed=seed,
        policy=POLICY,
        budget=BUDGET,
        is_in_step=True,
    )
    played = play(table, steps, router, wave=wave, on_wave=on_prompts)
    router.settle()
    return UnderBudget(
        budget=BUDGET,
        table=table,
        played=played,
        gained=measured(table, played, normaliser, budget=BUDGET),
        held_out=previewed(client, POLICY, held_out, label=_described(BUDGET), preference=None),
    )


def _described(budget: Budget) -> str:
    assert budget.target_usd is not None  # noqa: S101 - as it is above
    return f"under a budget of {budget.target_usd * 1000:g} USD per 1,000"
