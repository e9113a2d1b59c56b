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
        str | None,
        typer.Option(
            help="quality=0.8,cost=0.2; random: cost weight uniform per query; "
            "random3: uniform over quality, cost and latency. Default: quality=0.8,cost=0.2, and "
            "quality alone where there is a budget.",
            show_default=False,
        ),
    ] = None,
    budget_usd: Annotated[
        float | None, typer.Option(help="USD per decision to aim at.", show_default=False)
    ] = None,
    quality_floor: Annotated[
        float | None,
        typer.Option(help="Mean quality to reach at the least cost.", show_default=False),
    ] = None,
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
    at: Annotated[
        list[str] | None,
        typer.Option(
            metavar="POSITION WHAT WHICH",
            help="What changes on the way; may be repeated. Positions count from the first "
            "measured decision. 600 price gemini=0.1x: the list price and the real cost, told to "
            "the router; 600 cost gemini=1.5x: the real cost, told to nobody; 600 quality "
            "mistral=0.75: told to nobody; 900 add MODEL (absent before); 900 remove MODEL. "
            "Factors are of what was recorded: 1x restores it. Part of a model's name will do.",
            show_default=False,
        ),
    ] = None,
    rivals: Annotated[
        bool,
        typer.Option(
            "--rivals/--no-rivals",
            help="Play online kNN and the same policy context-free beside it.",
        ),
    ] = True,
    peers: Annotated[
        bool,
        typer.Option("--peers", help="Play published rivals beside it, those that are installed."),
    ] = False,
    peer_vectors: Annotated[
        Path | None,
        typer.Option(
            help="all-MiniLM-L6-v2 vectors for the rivals that read them, .npz.",
            show_default=False,
        ),
    ] = None,
    frontier: Annotated[
        bool,
        typer.Option("--frontier", help="Play once per trade-off of a grid, and print the AIQ."),
    ] = False,
    pictures: Annotated[
        Path | None,
        typer.Option(help="Folder for frontier.png and regret.png.", show_default=False),
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
    bandit-router replay outcomes.parquet --prices prices.csv --frontier --pictures .
    bandit-router replay outcomes.parquet --prices prices.csv --at 600 price gpt-4=0.5x
    bandit-router replay outcomes.parquet --prices prices.csv --target 127.0.0.1:50051 --wave 64
    """
    from bandit.domain.errors import InvalidInput
    from bandit.evaluation.decision_rows import write_decisions
    from services.cli import replay_report, replay_run, replay_task

    if target is not None and frontier:
        raise InvalidInput("--frontier", "plays in process: not with --target")
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
        budget_usd=budget_usd,
        quality_floor=quality_floor,
        events=at or (),
        order=order,
        delay=delay,
        missing=missing,
        learn_first=learn_first,
        wave=wave,
        peer_vectors=peer_vectors,
        is_quiet=as_json,
    )
    run = replay_run.play_all(
        task,
        range(seed, seed + seeds),
        rivals=(
            *(replay_run.rivals_of(task) if rivals else ()),
            *(replay_run.peers_of(task) if peers else ()),
        ),
        has_frontier=frontier,
        target=target,
        is_quiet=as_json,
    )
    if decisions is not None:
        write_decisions(decisions, task.trial.table, task.normaliser, run.passes)
    summary = replay_run.summarised(task, run)
    drawn: tuple[Path, ...] = ()
    if pictures is not None:
        from services.cli import replay_drawing

        drawn = replay_drawing.draw(task, run, summary, pictures)
    replay_report.print_summary(summary, drawn, as_json=as_json)
