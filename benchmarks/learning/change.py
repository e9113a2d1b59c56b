"""A model that silently gets worse, and arms that are added."""

from collections.abc import Sequence

import numpy as np

from bandit.domain.budget import Budget
from bandit.evaluation.phases import phases_of
from bandit.evaluation.regret import measured
from bandit.evaluation.replay import Played
from bandit.evaluation.script import Change, Event, Script
from benchmarks.learning.budgets import TARGETS
from benchmarks.learning.figures import Experiment, Figure, Passes, Section
from benchmarks.learning.preferences import spread
from benchmarks.learning.recorded import pareto_protocol, recorded

DEGRADED, FACTOR = "mistralai/mistral-large-2512", 0.81
PHASE_FLOORS = (None, 0.775, 0.905)
GOOD, BROKEN = "gpt-4-1106-preview", "gpt-4o-2024-08-06"
GOOD_FLOOR, LAST = 0.35, 300
QUOTA, BROKEN_CEILING = 20, 25.0


def silent_degradation(seeds: range) -> Experiment:
    """One model's quality falls in the middle third, under the fourth target."""
    data = pareto_protocol(has_validation=False)
    third, usd = len(data.table) // 3, TARGETS[3]
    script = Script(
        (
            Event(third, Change.QUALITY, DEGRADED, FACTOR),
            Event(2 * third, Change.QUALITY, DEGRADED, 1.0),
        )
    )
    trials = {"B4": data.under_budget(usd, script=script)}

    def read(passes: Passes) -> Section:
        budget = Budget(target_usd=usd)
        each = [
            phases_of(data.table, [one], data.normaliser, budget=budget) for one in passes["B4"]
        ]
        figures, rows = [], [("phase", "reward", "its share", "utilisation")]
        for phase, title in enumerate(("before", "degraded", "after")):
            reward = tuple(one[phase].quality.mean for one in each)
            share = [one[phase].shares[DEGRADED] for one in each]
            used = np.mean([one[phase].utilisation.mean for one in each])  # type: ignore[union-attr]
            if PHASE_FLOORS[phase] is not None:
                figures.append(Figure(f"reward, {title}", reward, PHASE_FLOORS[phase]))
            rows.append((title, spread(reward), spread(share), f"{used:.3f}"))
        return Section(
            "A model that silently degrades",
            f"The quality of {DEGRADED} is multiplied by {FACTOR} in the middle third of the test "
            "split, under the fourth target; nobody is told.",
            tuple(figures),
            tuple(rows),
        )

    return Experiment(trials, seeds, read)


def added_arms(seeds: range) -> Experiment:
    """A good arm joins eleven under a budget; a broken one joins fifteen under a preference."""
    good, broken = recorded("routerbench"), recorded("bfcl")
    usd = float(good.budgets()[5])
    joins = {"good": len(good.table) // 3, "broken": len(broken.table) // 3}
    trials = {
        "good": good.under_budget(usd, script=Script((Event(joins["good"], Change.ADD, GOOD),))),
        "broken": broken.under_budget(
            float(broken.budgets()[4]),
            script=Script((Event(joins["broken"], Change.ADD, BROKEN),)),
        ),
    }

    def read(passes: Passes) -> Section:
        late = [
            measured(
                good.table,
                one,
                good.normaliser,
                positions=np.arange(len(one.stream) - LAST, len(one.stream)),
            ).shares[good.table.models.index(GOOD)]
            for one in passes["good"]
        ]
        tries = chosen(passes["broken"], broken.table.models.index(BROKEN))
        took = [
            float(np.flatnonzero(one.arms == good.table.models.index(GOOD))[QUOTA - 1])
            - joins["good"]
            for one in passes["good"]
        ]
        return Section(
            "Arms that are added",
            f"{GOOD} joins the other ten of rb after a third, under the sixth target; {BROKEN} in "
            "prompt mode, broken for this task, joins the other fifteen of bfcl under the fifth.",
            (
                Figure(f"share of the good arm, last {LAST}", tuple(late), GOOD_FLOOR),
                Figure(
                    "decisions for the broken arm",
                    tuple(tries),
                    BROKEN_CEILING,
                    is_ceiling=True,
                    is_worst=True,
                ),
                Figure(f"decisions until the good arm had {QUOTA}", tuple(took)),
            ),
        )

    return Experiment(trials, seeds, read)


def chosen(passes: Sequence[Played], arm: int) -> list[float]:
    """How often an arm was chosen, per pass."""
    return [float((one.arms == arm).sum()) for one in passes]
