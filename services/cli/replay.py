"""`replay`: judge a policy on recorded full-information outcomes."""

from pathlib import Path
from typing import Annotated

import typer

from bandit.domain.policy import Algorithm


def replay(
    outcomes: Annotated[
        Path, typer.Argument(help="Recorded outcomes: every model on every query, Parquet.")
    ],
    vectors: Annotated[
        Path | None, typer.Option(help="Your own vectors, .npz with query_id and embedding.")
    ] = None,
    arms: Annotated[str | None, typer.Option(help="Models to choose from: a,b,c.")] = None,
    preference: Annotated[
        str,
        typer.Option(
            help="quality=0.8,cost=0.2; random: cost weight uniform per query; "
            "random3: uniform over quality, cost and latency."
        ),
    ] = "quality=0.8,cost=0.2",
    policy: Annotated[Algorithm, typer.Option(help="How to choose.")] = Algorithm.THOMPSON,
    context_free: Annotated[bool, typer.Option(help="Learn one mean per model.")] = False,
    warmup: Annotated[
        Path | None, typer.Option(help="Outcomes played first and not measured, Parquet.")
    ] = None,
    learn_first: Annotated[
        int, typer.Option(min=0, help="The first so many queries are played, not measured.")
    ] = 0,
    order: Annotated[str, typer.Option(help="shuffled or recorded.")] = "shuffled",
    seed: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="How many passes.")] = 1,
    delay: Annotated[
        float, typer.Option(min=0, help="Mean delay of outcomes, in decisions.")
    ] = 0.0,
    missing: Annotated[
        float, typer.Option(min=0, max=1, help="Probability that a quality never arrives.")
    ] = 0.0,
    prices: Annotated[
        Path | None,
        typer.Option(help="List prices, CSV with model, price_in_per_m, price_out_per_m."),
    ] = None,
    cost_range: Annotated[
        str | None,
        typer.Option(help="USD that normalise cost: LO,HI; default from the prices."),
    ] = None,
    decisions: Annotated[
        Path | None, typer.Option(help="Write every measured decision, Parquet.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Play through a running server: host:port.")
    ] = None,
    wave: Annotated[int, typer.Option(min=1, help="Decisions made from one learned state.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """
    Play recorded outcomes: what would this policy have given?

    Only the chosen model's outcome is revealed, as in production; the references know everything.

    \b
    bandit-router replay outcomes.parquet --prices prices.csv --seeds 10
    bandit-router replay outcomes.parquet --cost-range 1e-5,1e-2 --delay 50 --missing 0.3 --json
    bandit-router replay outcomes.parquet --prices prices.csv --target 127.0.0.1:50051 --wave 64
    """
    from bandit.evaluation.decision_rows import write_decisions
    from services.cli import replay_report, replay_task

    task = replay_task.read(
        outcomes,
        warmup=warmup,
        vectors=vectors,
        arms=arms,
        prices=prices,
        cost_range=cost_range,
        algorithm=policy,
        context_free=context_free,
        preference=preference,
        order=order,
        delay=delay,
        missing=missing,
        learn_first=learn_first,
        wave=wave,
    )
    numbers = range(seed, seed + seeds)
    passes = replay_task.played(task, numbers, target=target, is_quiet=as_json)
    if decisions is not None:
        write_decisions(decisions, task.trial.table, task.normaliser, passes)
    replay_report.print_summary(replay_task.summarised(task, passes), as_json=as_json)
