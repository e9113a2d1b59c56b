"""Priors from outcomes recorded elsewhere: what a good one gains, and what a wrong one costs."""

from dataclasses import replace

import numpy as np

from bandit.domain.objective import Objective
from bandit.domain.offline_prior import DEFAULT_STRENGTH, OfflinePrior
from bandit.evaluation.offline import offline_priors
from bandit.evaluation.regret import measured
from bandit.evaluation.table import OutcomeTable
from benchmarks.learning.figures import Experiment, Figure, Passes, Section
from benchmarks.learning.preferences import plain, results, stream
from benchmarks.learning.recorded import Recorded, halves, recorded

SPLITS, EARLY = 4, 500
GAIN_FLOOR, INVERTED_CEILING = 0.03, 0.10
WEIGHTS = ("0.2", "U")


def offline_table(seeds: range) -> Experiment:
    """One half of bfcl as prior of the other; rb under a table with its models turned around."""
    trials = {}
    parts = [halves("bfcl", seed=split) for split in range(SPLITS)]
    for weight in WEIGHTS:
        for split, (before, now) in enumerate(parts):
            trial = now.trial(stream(weight))
            trials[f"{weight} {split}"] = trial
            trials[f"{weight} {split} prior"] = replace(trial, offline=_priors(before))
    rb = recorded("routerbench")
    turned = replace(rb, table=_turned_around(rb.table))
    trials["rb"] = plain("routerbench", "U")
    trials["rb inverted"] = replace(trials["rb"], offline=_priors(turned))

    def early(passes: Passes, key: str, split: int) -> list[float]:
        data = parts[split][1]
        return [
            measured(data.table, one, data.normaliser, positions=np.arange(EARLY)).utility
            for one in passes[key]
        ]

    def read(passes: Passes) -> Section:
        figures = []
        for weight in WEIGHTS:
            gains = [
                np.subtract(
                    early(passes, f"{weight} {split} prior", split),
                    early(passes, f"{weight} {split}", split),
                )
                for split in range(SPLITS)
            ]
            claim = f"gain of a good prior, bfcl, cost weight {weight}, first {EARLY} decisions"
            bound = GAIN_FLOOR if weight == WEIGHTS[0] else None
            figures.append(Figure(claim, tuple(np.mean(gains, axis=0).tolist()), bound))
        without = results("routerbench", passes["rb"])
        wrong = results("routerbench", passes["rb inverted"])
        lost = [1 - b.utility / a.utility for a, b in zip(without, wrong, strict=True)]
        figures.append(
            Figure(
                "part of the utility that an inverted prior costs, rb, cost weight U",
                tuple(lost),
                INVERTED_CEILING,
                is_ceiling=True,
            )
        )
        figures.append(Figure("regret without it", tuple(one.regret for one in without)))
        figures.append(Figure("regret with it", tuple(one.regret for one in wrong)))
        return Section(
            "Priors from a table of recorded outcomes",
            f"At the default strength of {DEFAULT_STRENGTH:g} outcomes per model. A good one is "
            f"fitted on one half of bfcl and used on the other ({SPLITS} ways to halve it); an "
            "inverted one has every model's mean quality mirrored about the mean of all models.",
            tuple(figures),
        )

    return Experiment(trials, seeds, read)


def _priors(data: Recorded) -> dict[str, dict[Objective, OfflinePrior]]:
    return offline_priors(
        data.table, data.contexts, data.settings, data.prices, strength=DEFAULT_STRENGTH
    )


def _turned_around(table: OutcomeTable) -> OutcomeTable:
    """The best models as the worst: every mean quality mirrored about the mean of the means."""
    means = table.quality.mean(axis=0)
    return replace(table, quality=table.quality + 2 * (means.mean() - means))
