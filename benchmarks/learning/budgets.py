"""Targets in dollars per decision: what they buy, and whether they are kept."""

from collections.abc import Sequence

import numpy as np

from bandit.domain.budget import Budget
from bandit.evaluation.phases import phases_of
from bandit.evaluation.regret import Measured, measured
from bandit.evaluation.replay import Played
from bandit.evaluation.script import Change, Event, Script
from benchmarks.learning.figures import Experiment, Figure, Passes, Section
from benchmarks.learning.preferences import spread
from benchmarks.learning.recorded import SHORT, Recorded, pareto_protocol, recorded

TARGETS = (2.93e-5, 8.29e-5, 2.35e-4, 6.64e-4, 1.88e-3, 5.31e-3, 1.50e-2)
COLD_FLOORS = (0.793, 0.816, 0.872, 0.921, 0.921, 0.923, 0.927)
WARM_FLOORS = (0.793, 0.821, 0.877, 0.922, 0.922, 0.925, 0.927)
# Of the zero router's quality at the same cost, on average over seven targets.
OVER_ZERO_FLOORS = {"routerbench": -0.008, "bfcl": -0.022}
MEAN_CEILING, COLD_WORST, WARM_WORST = 1.005, 1.03, 1.02
OTHERS_MEAN_CEILING = 1.01
USED_FLOOR, USED = 0.95, 4  # of the first so many targets
DEAREST = "google/gemini-2.5-pro"
CUT, CUT_CEILING, CUT_FLOOR = 1 / 50, 1.12, 0.90
CUT_TARGETS = (2, 3, 4)


def seven_targets(seeds: range, *, has_validation: bool) -> Experiment:
    """ParetoBandit's protocol: three models, seven targets, cold or after the validation split."""
    data = pareto_protocol(has_validation=has_validation)
    trials = {f"B{n}": data.under_budget(usd) for n, usd in enumerate(TARGETS, start=1)}
    floors = WARM_FLOORS if has_validation else COLD_FLOORS
    worst = WARM_WORST if has_validation else COLD_WORST

    def read(passes: Passes) -> Section:
        figures, rows = [], [("target", "USD", "reward", "zero router", "utilisation", "worst")]
        for number, (name, usd) in enumerate(zip(trials, TARGETS, strict=True)):
            each = results(data, passes[name], usd)
            reward = tuple(one.quality for one in each)
            used = tuple(one.utilisation or 0.0 for one in each)
            figures.append(Figure(f"reward at {name}", reward, floors[number]))
            figures.append(Figure(f"utilisation at {name}", used, MEAN_CEILING, is_ceiling=True))
            figures.append(
                Figure(f"worst utilisation at {name}", used, worst, is_ceiling=True, is_worst=True)
            )
            if not has_validation and number < USED:
                figures.append(Figure(f"money used at {name}", used, USED_FLOOR))
            zero = np.mean([one.zero_router.quality for one in each])
            rows.append((
                name, f"{usd:.2e}", spread(reward), f"{zero:.4f}", f"{np.mean(used):.3f}",
                f"{max(used):.3f}",
            ))  # fmt: skip
        start = "after the validation split" if has_validation else "from a cold start"
        return Section(
            f"Budgets on ParetoBandit's protocol, {start}",
            "Three models on 1,824 test prompts, a target in USD per decision; the zero router is "
            "the best fixed mix of the models at the cost that was really spent. Where the "
            "validation split comes first it is learned from, and the account then begins anew.",
            tuple(figures),
            tuple(rows),
        )

    return Experiment(trials, seeds, read)


def other_tables(seeds: range) -> Experiment:
    """Eleven and sixteen models at seven targets between the cheapest and the dearest."""
    trials = {
        f"{name} {usd:.3g}": recorded(name).under_budget(float(usd))
        for name in OVER_ZERO_FLOORS
        for usd in recorded(name).budgets()
    }

    def read(passes: Passes) -> Section:
        figures, rows = (
            [],
            [("table", "target USD", "reward", "zero router", "utilisation", "worst")],
        )
        for name, floor in OVER_ZERO_FLOORS.items():
            gains, used_all = [], []
            for usd in recorded(name).budgets():
                each = results(recorded(name), passes[f"{name} {usd:.3g}"], float(usd))
                used = [one.utilisation or 0.0 for one in each]
                gains.append([one.over_zero_router for one in each])
                used_all.append(used)
                zero = np.mean([one.zero_router.quality for one in each])
                rows.append((
                    SHORT[name], f"{usd:.3g}", spread([one.quality for one in each]),
                    f"{zero:.4f}", f"{np.mean(used):.3f}", f"{max(used):.3f}",
                ))  # fmt: skip
            average = tuple(np.mean(gains, axis=0).tolist())
            figures.append(
                Figure(f"reward less zero router, {SHORT[name]}, average", average, floor)
            )
            most = max(range(len(used_all)), key=lambda at: float(np.mean(used_all[at])))
            figures.append(
                Figure(
                    f"highest mean utilisation, {SHORT[name]}",
                    tuple(used_all[most]),
                    OTHERS_MEAN_CEILING,
                    is_ceiling=True,
                )
            )
            figures.append(
                Figure(
                    f"worst utilisation of any seed, {SHORT[name]}",
                    tuple(np.max(used_all, axis=0).tolist()),
                    COLD_WORST,
                    is_ceiling=True,
                    is_worst=True,
                )
            )
        return Section(
            "Budgets with many models",
            "Eleven models (rb) and sixteen (bfcl), cold, at seven targets evenly spaced in their "
            "logarithm between the mean costs of the cheapest and the dearest model.",
            tuple(figures),
            tuple(rows),
        )

    return Experiment(trials, seeds, read)


def told_price_cut(seeds: range) -> Experiment:
    """The dearest model's price falls to a fiftieth for the middle third, and is told."""
    data = pareto_protocol(has_validation=False)
    third = len(data.table) // 3
    script = Script(
        (
            Event(third, Change.PRICE, DEAREST, CUT),
            Event(2 * third, Change.PRICE, DEAREST, 1.0),
        )
    )
    trials = {
        f"B{number + 1}": data.under_budget(TARGETS[number], script=script)
        for number in CUT_TARGETS
    }

    def read(passes: Passes) -> Section:
        figures, rows = [], [("target", "phase", "reward", "utilisation")]
        for number in CUT_TARGETS:
            name, budget = f"B{number + 1}", Budget(target_usd=TARGETS[number])
            each = [
                phases_of(data.table, [one], data.normaliser, budget=budget) for one in passes[name]
            ]
            for phase, title in enumerate(("before", "cut", "after")):
                used = tuple(one[phase].utilisation.mean for one in each)  # type: ignore[union-attr]
                reward = tuple(one[phase].quality.mean for one in each)
                claim = f"utilisation at {name}, {title}"
                figures.append(Figure(claim, used, CUT_CEILING, is_ceiling=True))
                if (name, title) == ("B3", "cut"):
                    figures.append(Figure(f"reward at {name}, {title}", reward, CUT_FLOOR))
                rows.append((name, title, spread(reward), f"{np.mean(used):.3f}"))
        return Section(
            "A price that is cut to a fiftieth, and told",
            f"{DEAREST} costs a fiftieth in the middle third of the test split, then again as "
            "before; the list price is changed with it.",
            tuple(figures),
            tuple(rows),
        )

    return Experiment(trials, seeds, read)


def results(data: Recorded, passes: Sequence[Played], usd: float) -> list[Measured]:
    """One `Measured` per seed."""
    budget = Budget(target_usd=usd)
    return [measured(data.table, one, data.normaliser, budget=budget) for one in passes]
