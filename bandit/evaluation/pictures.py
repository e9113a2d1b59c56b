"""The learning curve and the quality-cost frontier, as PNG files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bandit.evaluation.frontier import hull
from bandit.kernels.jit import Array

COLOURS = ("#1b6ca8", "#d1495b", "#3a7d44", "#8d5a97", "#e6a817", "#5c5c5c", "#1aa6a6", "#b5651d")
GREY = "#8a8a8a"
_FEWEST = 20


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """
    Utility gained under one preference as the stream went on.

    positions  (decisions,)  in the whole stream
    utility    (decisions,)  of the chosen arms
    best       (decisions,)  of the single model that is best in hindsight
    """

    label: str
    positions: Array
    utility: Array
    best: Array


def draw_learning_curve(path: Path, curves: Sequence[Curve], *, window: int = 100) -> None:
    """Moving mean of utility minus the best single model's, one line per preference."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.5, 4.2), layout="constrained")
    hindsight = "best single model, chosen in hindsight"
    axes.axhline(0, color=GREY, linestyle="--", linewidth=1, label=hindsight)
    for curve, colour in zip(curves, COLOURS, strict=False):
        gain = _moving_mean(curve.utility - curve.best, window)
        # The mean of a handful would stretch the axis beyond all that follows.
        axes.plot(curve.positions[_FEWEST:], gain[_FEWEST:], color=colour, label=curve.label)
    axes.set_xlabel("decisions")
    axes.set_ylabel("utility above the best single model")
    axes.set_title(f"Learning from delayed outcomes (moving mean of {window})", loc="left")
    axes.legend(frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _moving_mean(values: Array, window: int) -> Array:
    """The mean of the last `window` values; of all so far where there are fewer."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    end = np.arange(1, len(values) + 1)
    start = np.maximum(end - window, 0)
    result: Array = (total[end] - total[start]) / (end - start)
    return result


@dataclass(frozen=True, slots=True)
class Point:
    """A mean quality at a mean cost."""

    label: str
    cost_usd: float
    quality: float


def draw_frontier(
    path: Path,
    models: Sequence[Point],
    router: Sequence[Point],
    *,
    under_budget: Point | None = None,
) -> None:
    """
    Single models, the mixes of them (zero router), and one learned state at many preferences.

    under_budget  a policy of its own
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.5, 4.6), layout="constrained")
    cost = np.array([model.cost_usd for model in models])
    quality = np.array([model.quality for model in models])
    corners, _ = hull(cost, quality)
    grid = np.geomspace(corners[0], corners[-1], 400)
    hull_cost, hull_quality = hull(cost, quality)
    axes.plot(
        grid * 1000,
        np.interp(grid, hull_cost, hull_quality),
        color=GREY,
        linestyle="--",
        linewidth=1,
        label="zero router: best fixed mix of the models",
    )
    axes.scatter(cost * 1000, quality, color=GREY, zorder=3, label="single models")
    dearest = max(models, key=lambda model: model.cost_usd)
    for model in models:
        axes.annotate(
            model.label,
            (model.cost_usd * 1000, model.quality),
            xytext=(0 if model is dearest else 8, -14),
            textcoords="offset points",
            ha="right" if model is dearest else "left",
            fontsize=8,
            color="#4a4a4a",
        )
    ordered = sorted(router, key=lambda point: point.cost_usd)
    axes.plot(
        [point.cost_usd * 1000 for point in ordered],
        [point.quality for point in ordered],
        color=COLOURS[0],
        marker="o",
        linewidth=0.8,
        label="router: one learned state, cost weight as shown",
    )
    for index, point in enumerate(ordered):
        axes.annotate(
            point.label,
            (point.cost_usd * 1000, point.quality),
            xytext=(-4, 7 if index % 2 == 0 else 18),
            textcoords="offset points",
            fontsize=8,
            color=COLOURS[0],
        )
    if under_budget is not None:
        axes.scatter(
            [under_budget.cost_usd * 1000],
            [under_budget.quality],
            color=COLOURS[1],
            marker="D",
            zorder=4,
            label=f"router: {under_budget.label}",
        )
    axes.set_xscale("log")
    axes.set_xlabel("USD per 1,000 queries")
    axes.set_ylabel("mean quality")
    axes.set_title("Quality and cost on prompts it has not seen", loc="left")
    axes.legend(frameon=False, loc="center right", bbox_to_anchor=(1.0, 0.35))
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(0.12, 0.14)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
