"""What `demo` does: a service of its own, a stream of real prompts, and what it gained."""

import time
from pathlib import Path

import numpy as np

from bandit.client import RouterClient
from bandit.domain.objective import Objective
from bandit.domain.policy import PolicySettings
from bandit.domain.preference import Preference
from bandit.domain.price import Price
from bandit.evaluation.decision_rows import write_decisions
from bandit.evaluation.regret import measured
from bandit.evaluation.replay import play
from bandit.evaluation.stream import StreamSettings, stream_of
from bandit.evaluation.table import OutcomeTable, subset
from bandit.evaluation.wheel import wheel_table
from bandit.policies.utility import Normaliser, cost_range_of
from services.cli import demo_report
from services.cli.demo_budget import POLICY as BUDGETED
from services.cli.demo_budget import PROMPTS, play_under_budget
from services.cli.demo_drawing import draw
from services.cli.demo_preview import previewed
from services.cli.demo_result import Demo
from services.cli.progress import progress
from services.replaying import TargetRouter
from services.settings import Settings
from services.supervisor import Stack

PREFERENCES = (
    Preference(quality=0.95, cost=0.05),
    Preference(quality=0.8, cost=0.2),
    Preference(quality=0.5, cost=0.5),
)
DIAL = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)  # cost weights of the frontier
POLICY = "demo"
MEAN_DELAY = 50.0
WAVE = 25
HELD_OUT = 0.1
LEARNER_INTERVAL_MS = 10


def run(
    *,
    seed: int,
    queries: int,
    output: Path,
    decisions: Path | None,
    is_kept: bool,
    is_json: bool,
) -> None:
    """Start, play, show; what was started ends with the call."""
    table, prices = wheel_table()
    order = np.random.default_rng([seed, 99]).permutation(len(table))[:queries]
    cut = round(len(order) * (1 - HELD_OUT))
    stream, held_out = subset(table, order[:cut]), subset(table, order[cut:])
    demo_report.print_start(stream, prices, MEAN_DELAY, is_json=is_json)
    service = Settings.load(port=0, learner_interval_ms=LEARNER_INTERVAL_MS, log_level="warning")
    started = time.perf_counter()
    with Stack.start(service) as stack, RouterClient(stack.target, source="demo") as client:
        demo_report.print_ready(time.perf_counter() - started, stack.target, is_json=is_json)
        result = _play(client, stream, held_out, prices, seed, is_json=is_json)
        if decisions is not None:
            _write(decisions, result)
        pictures = draw(result, PREFERENCES, output)
        demo_report.print_result(result, PREFERENCES, pictures, is_json=is_json)
        if is_kept:
            demo_report.print_next(POLICY, BUDGETED, stack.target, stack.database_url)
            stack.wait()


def _play(
    client: RouterClient,
    stream: OutcomeTable,
    held_out: OutcomeTable,
    prices: dict[str, Price],
    seed: int,
    *,
    is_json: bool,
) -> Demo:
    settings = _settings(prices)
    assert settings.cost_range is not None  # noqa: S101 - it was just given
    normaliser = Normaliser(settings.cost_range, settings.latency_range_ms)
    router = TargetRouter(client, stream, settings, prices, vectors=None, seed=seed, policy=POLICY)
    steps = stream_of(
        len(stream), StreamSettings(tradeoffs=PREFERENCES, delay=MEAN_DELAY), seed=seed
    )
    with progress(len(stream), "prompts", is_quiet=is_json) as advance:
        played = play(stream, steps, router, wave=WAVE, on_wave=advance)
    router.settle()
    with progress(len(DIAL) * len(held_out), "dialling", is_quiet=is_json) as advance:
        frontier = []
        for weight in DIAL:
            preference = Preference(quality=1 - weight, cost=weight)
            frontier.append(
                previewed(client, POLICY, held_out, label=f"{weight:g}", preference=preference)
            )
            advance(len(held_out))
    prompts = min(PROMPTS, len(stream))
    with progress(prompts, "prompts under a budget", is_quiet=is_json) as advance:
        under_budget = play_under_budget(
            client,
            stream,
            held_out,
            settings,
            prices,
            normaliser,
            seed=seed,
            mean_delay=MEAN_DELAY,
            wave=WAVE,
            on_prompts=advance,
        )
    turn = np.arange(len(stream)) % len(PREFERENCES)
    half = np.arange(len(stream)) >= len(stream) // 2
    return Demo(
        stream=stream,
        normaliser=normaliser,
        played=played,
        later=tuple(
            measured(stream, played, normaliser, positions=np.flatnonzero(half & (turn == number)))
            for number in range(len(PREFERENCES))
        ),
        held_out=held_out,
        frontier=tuple(frontier),
        under_budget=under_budget,
        per_second=router.decided / router.deciding_s,
        seconds=played.seconds,
    )


def _write(path: Path, result: Demo) -> None:
    """The decisions under the three preferences, and beside them those under the budget."""
    under = result.under_budget
    write_decisions(path, result.stream, result.normaliser, [result.played])
    beside = path.with_stem(f"{path.stem}-budget")
    write_decisions(beside, under.table, result.normaliser, [under.played])


def _settings(prices: dict[str, Price]) -> PolicySettings:
    """The shipped defaults; the outcomes have no latency, so it is not learned."""
    return PolicySettings(
        objectives=(Objective.QUALITY, Objective.COST), cost_range=cost_range_of(prices.values())
    )
