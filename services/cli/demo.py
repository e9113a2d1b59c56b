"""`demo`: the main job on real prompts, from nothing."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    seed: Annotated[int, typer.Option(min=0, help="The same seed, the same decisions.")] = 0,
    queries: Annotated[
        int, typer.Option(min=200, help="Prompts to play, of the 3,609 that there are.")
    ] = 3609,
    output: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("demo-output"),
    decisions: Annotated[
        Path | None,
        typer.Option(
            help="Write every decision, Parquet; those under the budget to NAME-budget beside it.",
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the service up until interrupted.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """
    Play real prompts through a real service that learns, and show what was gained.

    Starts Postgres, a router and a learner on this machine, and stops them at the end.  Needs the
    extra `demo`, which brings the prompts.

    \b
    bandit-router demo
    bandit-router demo --seed 7 --keep
    """
    from services.cli.demo_run import run

    run(
        seed=seed,
        queries=queries,
        output=output,
        decisions=decisions,
        is_kept=keep,
        is_json=as_json,
    )
