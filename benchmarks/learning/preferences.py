"""Fixed and random preferences, delays, gaps, and whether context ever hurts."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from bandit.domain.preference import Preference
from bandit.evaluation.contenders import CONTEXT_FREE, SCALAR_REWARD
from bandit.evaluation.regret import Measured, measured
from bandit.evaluation.replay import Played
from bandit.evaluation.stream import StreamSettings
from bandit.evaluation.trial import Trial
from benchmarks.learning.figures import Experiment, Figure, Passes, Section
from benchmarks.learning.recorded import SHORT, recorded

TABLES = ("paretobandit", "routerbench", "bfcl")
WEIGHTS = ("U", "0.2", "0.05")
UTILITY_FLOORS = {
    ("routerbench", "0.2"): 0.557,
    ("paretobandit", "0.2"): 0.618,
    ("bfcl", "0.2"): 0.617,
    ("routerbench", "0.05"): 0.773,
    ("paretobandit", "0.05"): 0.8455,
    ("bfcl", "0.05"): 0.794,
}
REGRET_CEILINGS = {"paretobandit": 0.0015, "routerbench": 0.014, "bfcl": 0.013}
HURT = 0.003
DELAY_CEILINGS = {50: 0.013, 300: 0.018}
MISSING_CEILING = 0.008
THREE_OBJECTIVES_CEILING = 0.011


def stream(weight: str, *, delay: float = 0.0, missing: float = 0.0) -> StreamSettings:
    """Cost weight U: uniform per request; else the same for all."""
    if weight == "U":
        return StreamSettings(tradeoffs="random", delay=delay, missing=missing)
    cost = float(weight)
    wanted = (Preference(quality=1 - cost, cost=cost),)
    return StreamSettings(tradeoffs=wanted, delay=delay, missing=missing)


@lru_cache(maxsize=32)
def plain(name: str, weight: str) -> Trial:
    """A table under a cost weight and nothing else: the same object to all who play it."""
    return recorded(name).trial(stream(weight))


def results(name: str, passes: Sequence[Played]) -> list[Measured]:
    """One `Measured` per seed."""
    data = recorded(name)
    return [measured(data.table, one, data.normaliser) for one in passes]


def nine_cells(seeds: range) -> Experiment:
    """Three tables under three preferences, with context and without."""
    trials = {}
    for name in TABLES:
        for weight in WEIGHTS:
            trial = plain(name, weight)
            trials[f"{name} {weight}"] = trial
            trials[f"{name} {weight} blind"] = replace(trial, contender=CONTEXT_FREE)

    def read(passes: Passes) -> Section:
        figures = []
        rows = [("table", "cost weight", "utility", "context-free", "best single", "quality less "
                 "zero router", "regret")]  # fmt: skip
        for name in TABLES:
            for weight in WEIGHTS:
                ours = results(name, passes[f"{name} {weight}"])
                blind = results(name, passes[f"{name} {weight} blind"])
                utility = tuple(one.utility for one in ours)
                others = tuple(one.utility for one in blind)
                cell = f"{SHORT[name]}, cost weight {weight}"
                if weight == "U":
                    ceiling = REGRET_CEILINGS[name]
                    regrets = tuple(one.regret for one in ours)
                    figures.append(Figure(f"regret, {cell}", regrets, ceiling, is_ceiling=True))
                else:
                    floor = UTILITY_FLOORS[name, weight]
                    figures.append(Figure(f"utility, {cell}", utility, floor))
                lost = tuple(b - u for b, u in zip(others, utility, strict=True))
                figures.append(Figure(f"lost to context-free, {cell}", lost, HURT, is_ceiling=True))
                rows.append((
                    SHORT[name], weight, spread(utility), spread(others),
                    f"{np.mean([one.best_single.utility for one in ours]):.4f}",
                    f"{np.mean([one.over_zero_router for one in ours]):+.4f}",
                    spread([one.regret for one in ours]),
                ))  # fmt: skip
        return Section(
            "Preferences, and whether context ever hurts",
            "Utility under a cost weight that is the same for all requests, or uniform on [0, 1] "
            "per request (U), beside the same learner without context (a mean per model and head), "
            "the best single model in hindsight for that preference, and the zero router. Regret "
            "is against the best single model for each request's preference.",
            tuple(figures),
            tuple(rows),
        )

    return Experiment(trials, seeds, read)


def delays(seeds: range) -> Experiment:
    """Outcomes that come late."""
    trials = {
        f"{name} {weight} {delay}": recorded(name).trial(stream(weight, delay=delay))
        for name in TABLES
        for weight in WEIGHTS
        for delay in DELAY_CEILINGS
    }

    def read(passes: Passes) -> Section:
        figures = []
        for delay, ceiling in DELAY_CEILINGS.items():
            cells = [
                [one.regret for one in results(name, passes[f"{name} {weight} {delay}"])]
                for name in TABLES
                for weight in WEIGHTS
            ]
            average = tuple(np.mean(cells, axis=0).tolist())
            claim = f"average regret over nine cells, mean delay {delay}"
            figures.append(Figure(claim, average, ceiling, is_ceiling=True))
        return Section(
            "Late outcomes",
            "Each outcome arrives after a geometric number of decisions with that mean.",
            tuple(figures),
        )

    return Experiment(trials, seeds, read)


def gaps(seeds: range) -> Experiment:
    """Half of the qualities never arrive."""
    trials = {}
    for name in TABLES:
        for weight in WEIGHTS:
            trials[f"{name} {weight}"] = plain(name, weight)
            trials[f"{name} {weight} half"] = recorded(name).trial(stream(weight, missing=0.5))

    def read(passes: Passes) -> Section:
        cells = []
        for name in TABLES:
            for weight in WEIGHTS:
                whole = results(name, passes[f"{name} {weight}"])
                half = results(name, passes[f"{name} {weight} half"])
                cells.append([a.utility - b.utility for a, b in zip(whole, half, strict=True)])
        average = tuple(np.mean(cells, axis=0).tolist())
        claim = "average utility lost over nine cells, half of the qualities missing"
        return Section(
            "Missing outcomes",
            "Every second quality, at random, never arrives; costs do.",
            (Figure(claim, average, MISSING_CEILING, is_ceiling=True),),
        )

    return Experiment(trials, seeds, read)


def scalar_reward(seeds: range) -> Experiment:
    """One head per objective against one for the utility, each request with its own preference."""
    names = ("routerbench", "bfcl")
    trials = {}
    for name in names:
        trials[name] = plain(name, "U")
        trials[f"{name} scalar"] = replace(trials[name], contender=SCALAR_REWARD)

    def read(passes: Passes) -> Section:
        figures = []
        for name in names:
            ours = results(name, passes[name])
            rival = results(name, passes[f"{name} scalar"])
            less = tuple(b.regret - a.regret for a, b in zip(ours, rival, strict=True))
            figures.append(Figure(f"regret less than a scalar reward's, {SHORT[name]}", less, 0.0))
        return Section(
            "Separate heads against a scalar reward",
            "The rival is the same Thompson sampling on the utility itself, with the cost weight "
            "as a feature; a preference uniform on [0, 1] per request, the same draws for both.",
            tuple(figures),
        )

    return Experiment(trials, seeds, read)


def three_objectives(seeds: range) -> Experiment:
    """Quality, cost and latency, the preference uniform on the simplex."""
    trial = recorded("bfcl").trial(StreamSettings(tradeoffs="random3"))

    def read(passes: Passes) -> Section:
        regrets = tuple(one.regret for one in results("bfcl", passes["bfcl"]))
        claim = "regret, bfcl, preference uniform on the simplex"
        return Section(
            "Three objectives",
            "Quality, cost and latency, each request with a preference of its own.",
            (Figure(claim, regrets, THREE_OBJECTIVES_CEILING, is_ceiling=True),),
        )

    return Experiment({"bfcl": trial}, seeds, read)


def spread(values: Sequence[float]) -> str:
    """Mean and sample deviation over seeds, for a table."""
    deviation = np.std(values, ddof=1) if len(values) > 1 else 0.0
    return f"{np.mean(values):.4f} ± {deviation:.4f}"
