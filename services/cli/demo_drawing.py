"""The pictures that `demo` draws."""

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bandit.domain.preference import Preference
from bandit.evaluation.pictures import Curve, Point, draw_frontier, draw_learning_curve
from bandit.evaluation.regret import utilities_of
from services.cli.demo_result import Demo


def draw(result: Demo, preferences: Sequence[Preference], folder: Path) -> tuple[Path, Path]:
    """The learning curve and the frontier, as PNG files in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    curve_path, frontier_path = folder / "learning-curve.png", folder / "frontier.png"
    models = [
        Point(
            model,
            float(result.held_out.cost_usd[:, number].mean()),
            float(result.held_out.quality[:, number].mean()),
        )
        for number, model in enumerate(result.held_out.models)
    ]
    with TemporaryDirectory(prefix="bandit-router-") as scratch:
        # The plotting library keeps a list of fonts: nothing of ours stays outside this folder.
        os.environ.setdefault("MPLCONFIGDIR", scratch)
        draw_learning_curve(curve_path, _curves(result, preferences))
        draw_frontier(
            frontier_path, models, result.frontier, under_budget=result.under_budget.held_out
        )
    return curve_path, frontier_path


def _curves(result: Demo, preferences: Sequence[Preference]) -> list[Curve]:
    """One per preference, of every decision made under it."""
    curves = []
    steps, arms = result.played.stream, result.played.arms
    for number, preference in enumerate(preferences):
        at = np.arange(number, len(steps), len(preferences))
        utility = utilities_of(
            result.stream, steps.rows[at], [preference] * len(at), result.normaliser
        )
        best = int(utility.mean(axis=0).argmax())
        chosen = utility[np.arange(len(at)), arms[at]]
        label = f"quality {preference.quality:g}, cost {preference.cost:g}"
        curves.append(Curve(label, at.astype(np.float64), chosen, utility[:, best]))
    return curves
