"""What `replay` plays, and how."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bandit.domain.budget import Budget
from bandit.domain.errors import InvalidInput
from bandit.domain.objective import Objective
from bandit.domain.policy import Algorithm, ContextSettings, ContextSource, PolicySettings, Range
from bandit.domain.preference import Preference, Tradeoff
from bandit.domain.price import Price
from bandit.evaluation.in_process import table_contexts
from bandit.evaluation.script import check, script_of
from bandit.evaluation.stream import StreamSettings
from bandit.evaluation.table import OutcomeTable, joined, read_prices, read_table, read_vectors
from bandit.evaluation.trial import Trial
from bandit.features.encoder import WordLlamaEncoder
from bandit.kernels.jit import Array
from bandit.policies.utility import Normaliser, cost_range_of
from services.cli import parsing
from services.cli.progress import progress

DEFAULT_PREFERENCE = "quality=0.8,cost=0.2"


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
    preference: str | None,
    budget_usd: float | None,
    quality_floor: float | None,
    events: Sequence[str],
    order: str,
    delay: float,
    missing: float,
    learn_first: int,
    wave: int,
    peer_vectors: Path | None,
    is_quiet: bool,
) -> Task:
    """Read the files and check the options against them."""
    names = None if arms is None else [name.strip() for name in arms.split(",")]
    budget = _budget(budget_usd, quality_floor)
    tradeoffs = _tradeoffs(preference, has_budget=budget is not None)
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
    script = script_of([parsing.script_event(event) for event in events], table.models)
    check(script, models=table.models, priced=listed, measured=len(table) - first - learn_first)
    own = None if vectors is None else read_vectors(vectors, table.query_ids)
    settings = PolicySettings(
        algorithm=algorithm,
        context=_context(own, context_free=context_free),
        cost_range=_cost_range(cost_range, listed, table),
    )
    assert settings.cost_range is not None  # noqa: S101 - it was just given
    with progress(len(table), "contexts", is_quiet=is_quiet) as advance:
        contexts = table_contexts(table, settings, WordLlamaEncoder(), own, on_queries=advance)
    trial = Trial(
        table=table,
        contexts=contexts,
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
        budget=budget,
        script=script,
        vectors=None if peer_vectors is None else read_vectors(peer_vectors, table.query_ids),
    )
    normaliser = Normaliser(settings.cost_range, settings.latency_range_ms, settings.cost_form)
    return Task(trial, own, normaliser)


def _budget(target_usd: float | None, quality_floor: float | None) -> Budget | None:
    if target_usd is None and quality_floor is None:
        return None
    if target_usd is not None and quality_floor is not None:
        raise InvalidInput("--quality-floor", "is not for a replay with --budget-usd")
    return Budget(target_usd=target_usd, quality_floor=quality_floor)


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


def _tradeoffs(
    preference: str | None, *, has_budget: bool
) -> tuple[Tradeoff, ...] | Literal["random", "random3"]:
    if preference is None and has_budget:
        return (Preference(quality=1.0),)  # the budget says what money is worth
    if preference == "random":
        return "random"
    if preference == "random3":
        return "random3"
    return (parsing.preference(preference or DEFAULT_PREFERENCE),)


def _wants_latency(tradeoffs: tuple[Tradeoff, ...] | str) -> bool:
    if isinstance(tradeoffs, str):
        return tradeoffs == "random3"
    return any(Objective.LATENCY in tradeoff.needs() for tradeoff in tradeoffs)


def _cost_range(given: str | None, prices: Mapping[str, Price], table: OutcomeTable) -> Range:
    if given is not None:
        return parsing.range_of("--cost-range", given)
    if not prices:
        raise InvalidInput(
            "--cost-range", "is needed where there are no prices: LO,HI in USD, or --prices FILE"
        )
    return cost_range_of(prices.values(), input_tokens=float(table.request_tokens.mean()))
