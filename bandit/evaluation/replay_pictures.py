"""What a replay gained, drawn: the frontier and the regret."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np

from bandit.evaluation.frontier import hull
from bandit.evaluation.labels import Label, draw_labels
from bandit.evaluation.pictures import COLOURS, GREY, Point
from bandit.kernels.jit import Array

_DARK_GREY = "#4a4a4a"


def draw_replay_frontier(
    path: Path,
    models: Sequence[Point],
    router: Sequence[Point],
    *,
    dial: str,
    others: Sequence[Point] = (),
) -> None:
    """
    Single models, the mixes of them (zero router), and the router's points.

    A model far below the others is drawn at the lower edge, with its quality.
    router  one point, or several as the dial is turned; labelled by their settings
    dial    what the settings are
    others  references, each with its name; left out where they lie far above all the rest
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9.0, 5.6), layout="constrained")
    cost = np.array([model.cost_usd for model in models])
    quality = np.array([model.quality for model in models])
    corner_cost, corner_quality = hull(cost, quality)
    grid = np.geomspace(corner_cost[0], max(corner_cost[-1], cost.max()), 400)
    axes.plot(
        grid * 1000,
        np.interp(grid, corner_cost, corner_quality),
        color=GREY,
        linestyle="--",
        linewidth=1,
        label="zero router: best fixed mix of the models",
        zorder=1,
    )
    floor = min(_floor(quality), float(corner_quality[0]))  # the line begins there anyway
    drawn = np.maximum(quality, floor)
    for is_below, marker in ((False, "o"), (True, "v")):
        those = (quality < floor) == is_below
        axes.scatter(
            cost[those] * 1000,
            drawn[those],
            color=GREY,
            s=22,
            marker=marker,
            zorder=3,
            label="" if is_below else "single models",
        )
    ordered = sorted(router, key=lambda point: point.cost_usd)
    axes.plot(
        [point.cost_usd * 1000 for point in ordered],
        [point.quality for point in ordered],
        color=COLOURS[0],
        marker="o",
        markersize=5,
        linewidth=0.8,
        label=f"this policy, {dial} as shown" if len(ordered) > 1 else "this policy",
        zorder=4,
    )
    # Coloured before any is left out: everybody has the same colour in both pictures.
    coloured = list(zip(others, cycle(COLOURS[1:]), strict=False))
    coloured = [(one, colour) for one, colour in coloured if _is_in_range(one, quality, ordered)]
    kept = [point for point, _ in coloured]
    for point, colour in coloured:
        axes.scatter(
            [point.cost_usd * 1000],
            [point.quality],
            color=colour,
            marker="D",
            s=26,
            zorder=3,
            label=point.label,
        )
    axes.set_xscale("log")
    axes.set_xlabel("USD per 1,000 queries")
    axes.set_ylabel("mean quality")
    axes.set_title("Quality and cost of the measured decisions", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(0.1, 0.1)
    figure.legend(frameon=False, loc="outside lower center", ncols=3, fontsize=9)
    names = [
        Label(
            f"{model.label} ({model.quality:.3g})" if model.quality < floor else model.label,
            model.cost_usd * 1000,
            max(model.quality, floor),
            _DARK_GREY,
        )
        for model in models
    ]
    settings = [
        Label(point.label, point.cost_usd * 1000, point.quality, COLOURS[0]) for point in ordered
    ]
    unnamed = [(point.cost_usd * 1000, point.quality) for point in kept]
    if len(ordered) > 1:
        draw_labels(axes, [*settings, *names], keep_clear=unnamed)
    else:
        at = [(point.cost_usd * 1000, point.quality) for point in ordered]
        draw_labels(axes, names, keep_clear=[*at, *unnamed])
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _floor(quality: Array) -> float:
    """Where the picture ends below: a model that is broken would squeeze all others together."""
    middle, best = float(np.median(quality)), float(quality.max())
    return max(float(quality.min()), middle - 2.5 * (best - middle))


def _is_in_range(point: Point, quality: Array, router: Sequence[Point]) -> bool:
    """Whether it lies within the heights of the rest, or not far above."""
    highest = max(float(quality.max()), *(other.quality for other in router))
    lowest = min(float(quality.min()), *(other.quality for other in router))
    return point.quality <= highest + 0.6 * (highest - lowest)


@dataclass(frozen=True, slots=True, eq=False)
class RegretCurve:
    """regrets  (seeds, decisions) utility lost at every measured decision"""

    label: str
    regrets: Array


def draw_regret(
    path: Path, curves: Sequence[RegretCurve], *, events: Sequence[tuple[int, str]] = ()
) -> None:
    """
    Utility lost so far against the best single model: the mean over seeds, and a deviation.

    events  positions at which something changed, and what
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8.0, 4.6), layout="constrained")
    axes.axhline(0, color=GREY, linestyle="--", linewidth=1)
    for curve, colour in zip(curves, cycle(COLOURS), strict=False):
        lost = np.cumsum(curve.regrets, axis=1)
        positions = np.arange(1, lost.shape[1] + 1)
        mean = lost.mean(axis=0)
        axes.plot(positions, mean, color=colour, linewidth=1.4, label=curve.label)
        if len(lost) > 1:
            deviation = lost.std(axis=0, ddof=1)
            axes.fill_between(
                positions, mean - deviation, mean + deviation, color=colour, alpha=0.15, linewidth=0
            )
    for level, (position, text) in enumerate(events):
        axes.axvline(position, color=GREY, linestyle=":", linewidth=1)
        axes.annotate(
            text,
            xy=(position, 1),
            xycoords=("data", "axes fraction"),
            xytext=(3, -10 - 11 * (level % 4)),
            textcoords="offset points",
            fontsize=8,
            color=_DARK_GREY,
        )
    seeds = len(curves[0].regrets)
    spread = f"mean of {seeds} seeds and a deviation" if seeds > 1 else "one seed"
    axes.set_xlabel("measured decisions")
    axes.set_ylabel("utility lost so far")
    axes.set_title(
        f"Regret against the best single model, chosen in hindsight ({spread})",
        loc="left",
        fontsize=11,
    )
    axes.margins(0.01, 0.12)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside lower center", ncols=3, fontsize=9)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
