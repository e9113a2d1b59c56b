"""The pictures of a replay."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bandit.evaluation.contenders import CONTEXT_FREE, ONLINE_KNN
from bandit.evaluation.dial import Dial
from bandit.evaluation.pictures import Point
from bandit.evaluation.regret import measured, regrets_of
from bandit.evaluation.replay_pictures import RegretCurve, draw_regret, draw_replay_frontier
from bandit.evaluation.summary import Summary
from services.cli.replay_run import Passes, Run
from services.cli.replay_task import Task

NAMES = {CONTEXT_FREE: "context-free", ONLINE_KNN: "online kNN", "oracle": "oracle per query"}
_DIALS = {Dial.COST_WEIGHT: "weight of cost", Dial.BUDGET: "USD per 1,000 budgeted"}


def draw(task: Task, run: Run, summary: Summary, folder: Path) -> tuple[Path, Path]:
    """`frontier.png` and `regret.png` in that folder."""
    folder.mkdir(parents=True, exist_ok=True)
    frontier_path, regret_path = folder / "frontier.png", folder / "regret.png"
    others = [
        Point(NAMES.get(name, name), one.cost_usd, one.quality)
        for name in (*run.rivals, "oracle")
        for one in (summary.references[name],)
    ]
    with TemporaryDirectory(prefix="bandit-router-") as scratch:
        # The plotting library keeps a list of fonts: nothing of ours stays outside this folder.
        os.environ.setdefault("MPLCONFIGDIR", scratch)
        draw_replay_frontier(
            frontier_path,
            _models(task, run),
            _router(summary),
            dial=_DIALS[summary.frontier.dial] if summary.frontier else "",
            others=others,
        )
        played = {"this policy": run.passes}
        played |= {NAMES.get(name, name): passes for name, passes in run.rivals.items()}
        draw_regret(
            regret_path,
            [RegretCurve(name, _regrets(task, passes)) for name, passes in played.items()],
            events=[(event.at, str(event)) for event in task.trial.script.events],
        )
    return frontier_path, regret_path


def _models(task: Task, run: Run) -> list[Point]:
    """Every model that was ever there, on the measured decisions; means over seeds."""
    each = [measured(task.trial.table, one, task.normaliser) for one in run.passes]
    cost = np.mean([one.single_cost_usd for one in each], axis=0)
    quality = np.mean([one.single_quality for one in each], axis=0)
    return [
        Point(model, float(cost[number]), float(quality[number]))
        for number, model in enumerate(task.trial.table.models)
        if not np.isnan(cost[number])
    ]


def _router(summary: Summary) -> list[Point]:
    if summary.frontier is None:
        return [Point("this policy", summary.cost_usd.mean, summary.quality.mean)]
    scale = 1000 if summary.frontier.dial is Dial.BUDGET else 1
    return [
        Point(f"{point.setting * scale:.3g}", point.cost_usd.mean, point.quality.mean)
        for point in summary.frontier.points
    ]


def _regrets(task: Task, passes: Passes) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.array([regrets_of(task.trial.table, one, task.normaliser) for one in passes])
