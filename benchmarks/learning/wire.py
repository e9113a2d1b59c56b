"""The same streams through a running server: two routers that share nothing but the database."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from bandit.client import RouterClient
from bandit.evaluation.replay import Played, play
from bandit.evaluation.runs import run_each
from bandit.evaluation.stream import stream_of
from bandit.evaluation.trial import Trial
from benchmarks.learning.budgets import TARGETS, results
from benchmarks.learning.figures import Experiment, Figure, Passes, Section
from benchmarks.learning.recorded import pareto_protocol
from services.replaying import TargetRouter
from services.settings import Settings
from services.supervisor import ChildProcess, Stack

DELAY, WAVE = 50.0, 25
APART, UTILISATION_CEILING = 0.004, 1.02
HERE, WIRED = "in process", "through two routers"
LEARNER_INTERVAL_MS = 10
START_S, END_S = 60.0, 10.0

OnDecisions = Callable[[int], None]


def seven_targets(seeds: range) -> Experiment:
    """ParetoBandit's protocol after its validation split: every pass here and over the wire."""
    data = pareto_protocol(has_validation=True)
    under = {f"B{n}": delayed(data.under_budget(usd)) for n, usd in enumerate(TARGETS, start=1)}
    trials = {f"{name} {place}": trial for place in (HERE, WIRED) for name, trial in under.items()}
    seconds: list[float] = []

    def played(
        trials: Sequence[Trial], seeds: Sequence[int], *, on_decisions: OnDecisions
    ) -> list[list[Played]]:
        here, wired = trials[: len(TARGETS)], trials[len(TARGETS) :]
        passes = run_each(here, seeds, on_decisions=on_decisions)
        started = time.perf_counter()
        with two_routers() as targets:
            for trial in wired:
                passes.append(
                    [through(targets, trial, seed, on_decisions=on_decisions) for seed in seeds]
                )
        seconds.append(time.perf_counter() - started)
        return passes

    def read(passes: Passes) -> Section:
        figures = []
        rows = [("target", "USD", "reward here", "reward over the wire", "utilisation here",
                 "utilisation over the wire")]  # fmt: skip
        for name, usd in zip(under, TARGETS, strict=True):
            here = results(data, passes[f"{name} {HERE}"], usd)
            wired = results(data, passes[f"{name} {WIRED}"], usd)
            apart = tuple(
                abs(one.quality - other.quality) for one, other in zip(wired, here, strict=True)
            )
            used = tuple(one.utilisation or 0.0 for one in wired)
            figures += [
                Figure(f"reward apart at {name}", apart, APART, is_ceiling=True, is_worst=True),
                Figure(
                    f"worst utilisation over the wire at {name}",
                    used,
                    UTILISATION_CEILING,
                    is_ceiling=True,
                    is_worst=True,
                ),
            ]
            rows.append((
                name, f"{usd:.2e}", _mean(one.quality for one in here),
                _mean(one.quality for one in wired), _mean(one.utilisation or 0.0 for one in here),
                _mean(used),
            ))  # fmt: skip
        decisions = len(seeds) * sum(len(trial.table) for trial in under.values())
        return Section(
            "Budgets through a running server",
            f"ParetoBandit's protocol after its validation split, seeds per target: {len(seeds)}, "
            f"in waves of {WAVE} whose outcomes arrive a geometric {DELAY:.0f} decisions later: in "
            "process, and over gRPC by two router processes on one Postgres that decide every "
            f"other query each. {decisions:,} decisions over the wire, every outcome learned and "
            f"served before the next wave, in {sum(seconds):.0f} s.",
            tuple(figures),
            tuple(rows),
        )

    return Experiment(trials, seeds, read, play=played)


def delayed(trial: Trial) -> Trial:
    """The trial in waves, with outcomes that arrive later."""
    return replace(trial, wave=WAVE, stream=replace(trial.stream, delay=DELAY))


@contextmanager
def two_routers() -> Iterator[tuple[str, str]]:
    """The targets of two router processes on one database, with a learner; ended with the block."""
    settings = Settings.load(port=0, learner_interval_ms=LEARNER_INTERVAL_MS, log_level="warning")
    with Stack.start(settings, durable=False) as stack:
        second = ChildProcess("router")
        try:
            orders = settings.model_dump(mode="json") | {"database_url": stack.database_url}
            second.order(json.dumps(orders).encode())
            port = second.readiness(within_s=START_S)["port"]
            yield stack.target, f"{settings.host}:{port}"
        finally:
            second.stop(within_s=END_S)


def through(
    targets: tuple[str, str],
    trial: Trial,
    seed: int,
    *,
    on_decisions: OnDecisions = lambda count: None,
) -> Played:
    """One pass, its queries dealt between two routers."""
    with RouterClient(targets[0]) as one, RouterClient(targets[1]) as other:
        router = TargetRouter(
            one,
            trial.table,
            trial.policy,
            trial.prices,
            others=(other,),
            vectors=None,
            seed=seed,
            budget=trial.budget,
        )
        try:
            stream = stream_of(len(trial.table), trial.stream, seed=seed, warmup=trial.warmup)
            return play(trial.table, stream, router, wave=trial.wave, on_wave=on_decisions)
        finally:
            router.archive()


def _mean(values: Iterator[float] | Sequence[float]) -> str:
    listed = list(values)
    return f"{sum(listed) / len(listed):.4f}"
