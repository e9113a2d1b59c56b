"""Labels beside points of a picture, each where it covers nothing."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Box = tuple[float, float, float, float]  # left, bottom, right, top; any one unit

_DISTANCES = (7.0, 16.0, 27.0, 40.0, 56.0, 74.0, 94.0)
_ANGLES = tuple(math.radians(degrees) for degrees in (-35, 35, 215, 145, -90, 90, 0, 180))
_LEADER = 14.0  # a label further away than this gets a line to its point
_MARKER = 4.0  # half the width that is kept clear about a point
_GAP = 1.5
_BEAD = 3.0  # distance of the boxes that stand for a line


@dataclass(frozen=True, slots=True)
class Label:
    """A text for the point (x, y), in the units of the axes."""

    text: str
    x: float
    y: float
    colour: str


def place(
    anchors: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    *,
    taken: Sequence[Box],
    within: Box,
) -> list[Box]:
    """
    A box of its size for every anchor: as near as it fits, and over none of the others.

    anchors  points, which are kept clear themselves
    sizes    width and height per anchor
    taken    boxes that are there already
    within   what all boxes have to lie in
    returns  a box per anchor; where none fits, the one that covers least
    """
    occupied = [*taken, *((x - _MARKER, y - _MARKER, x + _MARKER, y + _MARKER) for x, y in anchors)]
    placed: dict[int, Box] = {}
    # Those with the most neighbours choose first: they have the fewest places.
    crowd = [sum(math.hypot(x - a, y - b) < 60 for a, b in anchors) for x, y in anchors]
    for number in sorted(range(len(anchors)), key=lambda each: (-crowd[each], anchors[each])):
        candidates = list(_candidates(anchors[number], sizes[number]))
        best = min(
            candidates,
            key=lambda box: _outside(box, within) + sum(_overlap(box, other) for other in occupied),
        )
        placed[number] = best
        occupied.append(best)
    return [placed[number] for number in range(len(anchors))]


def _candidates(anchor: tuple[float, float], size: tuple[float, float]) -> Iterator[Box]:
    """Boxes about the point, the nearest first."""
    width, height = size
    for distance in _DISTANCES:
        for angle in _ANGLES:
            x = anchor[0] + distance * math.cos(angle)
            y = anchor[1] + distance * math.sin(angle)
            left = x - width * (1 - math.cos(angle)) / 2
            bottom = y - height * (1 - math.sin(angle)) / 2
            yield (left, bottom, left + width, bottom + height)


def _overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0]) + _GAP
    height = min(one[3], other[3]) - max(one[1], other[1]) + _GAP
    return width * height if width > 0 and height > 0 else 0.0


def _outside(box: Box, within: Box) -> float:
    """How much of a box lies beyond the edges; more costly than covering another."""
    inner = _overlap(box, within)
    whole = _overlap(box, box)
    return 10.0 * max(whole - inner, 0.0) if inner < whole else 0.0


def _along(corners: Sequence[tuple[float, float]]) -> Iterator[Box]:
    """Small boxes strung along a line."""
    for (x, y), (to_x, to_y) in pairwise(corners):
        count = max(1, round(math.dist((x, y), (to_x, to_y)) / _BEAD))
        for number in range(count):
            at_x = x + (to_x - x) * number / count
            at_y = y + (to_y - y) * number / count
            yield (at_x, at_y, at_x + 1, at_y + 1)


def draw_labels(
    axes: Any, labels: Sequence[Label], *, keep_clear: Sequence[tuple[float, float]] = ()
) -> None:
    """
    Write labels into finished axes of Matplotlib, with a thin line to a point that is far.

    keep_clear  points without a label that must not be covered; lines are avoided where it is easy
    """
    figure = axes.figure
    # Once, so that the axes have their place, and then never again.
    figure.canvas.draw()
    figure.set_layout_engine("none")
    renderer = figure.canvas.get_renderer()
    to_pixels = axes.transData.transform
    scale = figure.dpi / 72.0

    def in_points(pair: Any) -> tuple[float, float]:
        return (float(pair[0]) / scale, float(pair[1]) / scale)

    sizes = []
    for label in labels:
        text = axes.text(0, 0, label.text, fontsize=8)
        extent = text.get_window_extent(renderer)
        sizes.append((extent.width / scale, extent.height / scale))
        text.remove()
    anchors = [in_points(to_pixels((label.x, label.y))) for label in labels]
    taken: list[Box] = []
    for point in keep_clear:
        x, y = in_points(to_pixels(point))
        taken.append((x - _MARKER, y - _MARKER, x + _MARKER, y + _MARKER))
    for line in axes.get_lines():
        taken.extend(_along([in_points(point) for point in to_pixels(line.get_xydata())]))
    area = axes.get_window_extent(renderer)
    within = (area.x0 / scale, area.y0 / scale, area.x1 / scale, area.y1 / scale)
    boxes = place(anchors, sizes, taken=taken, within=within)
    for label, anchor, (left, bottom, right, top) in zip(labels, anchors, boxes, strict=True):
        near = (min(max(anchor[0], left), right), min(max(anchor[1], bottom), top))
        is_far = math.dist(near, anchor) > _LEADER
        axes.annotate(
            label.text,
            (label.x, label.y),
            xytext=((left + right) / 2 - anchor[0], (bottom + top) / 2 - anchor[1]),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8,
            color=label.colour,
            arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": "#b0b0b0", "shrinkB": 3}
            if is_far
            else None,
        )
