"""What `replay` plays, and how."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bandit.client import RouterClient
from bandit.domain.errors import InvalidInput
from bandit.domain.objective import Objective
from bandit.domain.policy import Algorithm, ContextSettings, ContextSource, PolicySettings, Range
from bandit.domain.preference import Tradeoff
from bandit.domain.price import Price
from bandit.evaluation.in_process import table_contexts
from bandit.evaluation.regret import measured
from bandit.evaluation.replay import Played, play
from bandit.evaluation.runs import Trial, run_all
from bandit.evaluation.stream import StreamSettings, stream_of
from bandit.evaluation.summary import Summary, summary_of
from bandit.evaluation.table import OutcomeTable, joined, read_prices, read_table, read_vectors
from bandit.features.encoder import WordLlamaEncoder
from bandit.kernels.jit import Array
from bandit.policies.utility import Normaliser, cost_range_of
from services.cli import parsing
from services.cli.progress import progress
from services.replaying import TargetRouter


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """What is played, read from the files and options; `vectors` are the caller's own."""

    trial: Trial
    vectors: Array | None
    normaliser: Normaliser


def read(
    outcomes: Path,
    *,
    warmup: Path | None,
    vectors: Path | None,
    arms: str | None,
    prices: Path | None,
    cost_range: str | None,
    algorithm: Algorithm,
    context_free: bool,
    preference: str,
    order: str,
    delay: float,
    missing: float,
    learn_first: int,
    wave: int,
) -> Task:
    """Read the files and check the options against them."""
    names = None if arms is None else [name.strip() for name in arms.split(",")]
    tradeoffs = _tradeoffs(preference)
    needs_latency = _wants_latency(tradeoffs)
    table = read_table(outcomes, arms=names, needs_latency=needs_latency)
    first = 0
    if warmup is not None:
        before = read_table(warmup, arms=table.models, needs_latency=needs_latency)
        first = len(before)
        table = joined(before, table)
    if first + learn_first >= len(table):
        raise InvalidInput("--learn-first", "leaves no query to measure")
    listed = {} if prices is None else read_prices(prices, table.models)
    own = None if vectors is None else read_vectors(vectors, table.query_ids)
    settings = PolicySettings(
        algorithm=algorithm,
        context=_context(own, context_free=context_free),
        cost_range=_cost_range(cost_range, listed, table),
    )
    assert settings.cost_range is not None  # noqa: S101 - it was just given
    trial = Trial(
        table=table,
        contexts=table_contexts(table, settings, WordLlamaEncoder(), own),
        policy=settings,
        prices=listed,
        stream=StreamSettings(
            tradeoffs=tradeoffs,
            order=_order(order),
            delay=delay,
            missing=missing,
            learn_first=learn_first,
        ),
        warmup=first,
        wave=wave,
    )
    normaliser = Normaliser(settings.cost_range, settings.latency_range_ms, settings.cost_form)
    return Task(trial, own, normaliser)


def _context(own: Array | None, *, context_free: bool) -> ContextSettings:
    if context_free:
        return ContextSettings(source=ContextSource.NONE)
    if own is not None:
        return ContextSettings(source=ContextSource.VECTOR, vector_length=int(own.shape[1]))
    return ContextSettings()


def _order(order: str) -> Literal["shuffled", "recorded"]:
    if order == "shuffled":
        return "shuffled"
    if order == "recorded":
        return "recorded"
    raise InvalidInput("--order", "must be shuffled or recorded")


def _tradeoffs(preference: str) -> tuple[Tradeoff, ...] | Literal["random", "random3"]:
    if preference == "random":
        return "random"
    return "random3" if preference == "random3" else (parsing.preference(preference),)


def _wants_latency(tradeoffs: tuple[Tradeoff, ...] | str) -> bool:
    if isinstance(tradeoffs, str):
        return tradeoffs == "random3"
    return any(Objective.LATENCY in tradeoff.needs() for tradeoff in tradeoffs)


def _cost_range(given: str | None, prices: dict[str, Price], table: OutcomeTable) -> Range:
    if given is not None:
        return parsing.range_of("--cost-range", given)
    if not prices:
        raise InvalidInput(
            "--cost-range", "is needed where there are no prices: LO,HI in USD, or --prices FILE"
        )
    return cost_range_of(prices.values(), input_tokens=float(table.request_tokens.mean()))


def played(task: Task, seeds: Sequence[int], *, target: str | None, is_quiet: bool) -> list[Played]:
    """One pass per seed: in this machine's processes, or through a running server."""
    if target is not None:
        return _through(target, task, seeds, is_quiet=is_quiet)
    with progress(len(seeds), "passes", is_quiet=is_quiet) as advance:
        return run_all(task.trial, seeds, on_pass=lambda: advance(1))


def _through(target: str, task: Task, seeds: Sequence[int], *, is_quiet: bool) -> list[Played]:
    trial = task.trial
    passes = []
    total = len(seeds) * len(trial.table)
    with (
        RouterClient(target, source="replay") as client,
        progress(total, "decisions", is_quiet=is_quiet) as advance,
    ):
        for seed in seeds:
            router = TargetRouter(
                client, trial.table, trial.policy, trial.prices, vectors=task.vectors, seed=seed
            )
            try:
                stream = stream_of(len(trial.table), trial.stream, seed=seed, warmup=trial.warmup)
                passes.append(play(trial.table, stream, router, wave=trial.wave, on_wave=advance))
            finally:
                router.archive()
    return passes


def summarised(task: Task, passes: Sequence[Played]) -> Summary:
    """Means and deviations over the passes, beside the references."""
    table, stream = task.trial.table, passes[0].stream
    return summary_of(
        [measured(table, one, task.normaliser) for one in passes],
        models=table.models,
        queries=len(stream) - stream.learn_first,
        dropped=table.dropped,
        normaliser=task.normaliser,
    )
