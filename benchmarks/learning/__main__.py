"""`python -m benchmarks.learning`: every claim beside its bound, and docs/learning.md with both."""

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from bandit.evaluation.replay import Played
from bandit.evaluation.runs import OnDecisions
from bandit.evaluation.trial import Trial
from benchmarks.learning import budgets, change, preferences, priors, wire
from benchmarks.learning.document import line, written_into
from benchmarks.learning.figures import Experiment, Section

DOCUMENT = Path(__file__).parents[2] / "docs" / "learning.md"
SEEDS, MANY_SEEDS = 10, 30

Make = Callable[[range], Experiment]
EXPERIMENTS: Mapping[str, tuple[Make, int]] = {
    "cells": (preferences.nine_cells, MANY_SEEDS),
    "scalar": (preferences.scalar_reward, SEEDS),
    "three": (preferences.three_objectives, SEEDS),
    "delays": (preferences.delays, SEEDS),
    "gaps": (preferences.gaps, SEEDS),
    "cold": (lambda seeds: budgets.seven_targets(seeds, has_validation=False), 2 * SEEDS),
    "warm": (lambda seeds: budgets.seven_targets(seeds, has_validation=True), SEEDS),
    "many": (budgets.other_tables, SEEDS),
    "cut": (budgets.told_price_cut, SEEDS),
    "degraded": (change.silent_degradation, SEEDS),
    "added": (change.added_arms, SEEDS),
    "priors": (priors.offline_table, SEEDS),
    "wire": (wire.seven_targets, 1),
}


def main() -> int:
    """Exit status: 0 where every bound holds, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning")
    parser.add_argument("--only", help="some experiments, comma-separated", default="")
    parser.add_argument("--seeds", type=int, help="as many for all, instead of their own number")
    parser.add_argument(
        "--write", action="store_true", help="write the figures into docs/learning.md"
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)  # before a library does, at a level of its own
    if "BANDIT_DATA" not in os.environ:
        print("BANDIT_DATA names no folder of recorded outcomes", file=sys.stderr)
        return 2
    names = options.only.split(",") if options.only else list(EXPERIMENTS)
    started = time.perf_counter()
    known: dict[Trial, list[Played]] = {}
    sections = [
        _run(name, range(options.seeds or EXPERIMENTS[name][1]), EXPERIMENTS[name][0], known)
        for name in names
    ]
    print(f"{time.perf_counter() - started:.0f} s")
    if options.write:
        written_into(DOCUMENT, sections)
    return 0 if all(figure.holds for section in sections for figure in section.figures) else 1


def _run(name: str, seeds: range, make: Make, known: dict[Trial, list[Played]]) -> Section:
    experiment = make(seeds)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task(name, total=experiment.decisions)
        played = _played(experiment, known, lambda count: bar.advance(task, count))
    section = experiment.read(played)
    many = "seed" if len(experiment.seeds) == 1 else "seeds"
    section = replace(section, title=f"{section.title} ({len(experiment.seeds)} {many})")
    print(f"\n{section.title}")
    for row in section.table:
        print("  " + "  ".join(f"{cell:>22}" for cell in row))
    for figure in section.figures:
        print(line(figure))
    sys.stdout.flush()
    return section


def _played(
    experiment: Experiment, known: dict[Trial, list[Played]], told: OnDecisions
) -> dict[str, list[Played]]:
    """The passes of every trial; what another experiment has played is not played again."""
    seeds, trials = list(experiment.seeds), experiment.trials
    missing = [trial for trial in trials.values() if len(known.get(trial, ())) < len(seeds)]
    known |= zip(missing, experiment.play(missing, seeds, on_decisions=told), strict=True)
    return {name: known[trial][: len(seeds)] for name, trial in trials.items()}


if __name__ == "__main__":
    sys.exit(main())
