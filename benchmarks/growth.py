"""
How the cost of a decision grows with arms and features: no faster than arms * features^2.

One whole decision, from a snapshot and a query to what is recorded, between all pairs of a smaller
and a greater size.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from bandit.domain.decision import Decision
from bandit.domain.objective import HEADS
from bandit.domain.query import Query
from bandit.evaluation.pictures import COLOURS, GREY
from bandit.evaluation.stream import decision_id
from bandit.routing.deciding import decide
from bandit.routing.snapshot import Snapshot, snapshot_of
from benchmarks.contest import Contest
from tests.builders import NOW, a_policy, an_arm

ARMS = (2, 5, 12, 30, 80, 200)
FEATURES = (16, 32, 64, 128, 256)
PICTURE = Path("docs/images/decision-cost.png")
ROUNDS = 7
_TRIAL_S = 0.01

Size = tuple[int, int]
Costs = Mapping[Size, float]


def contests(rounds: int | None) -> Iterator[Contest]:
    """
    The pair of sizes between which the cost grew most beside arms * features^2; all are printed.

    The floor allows for the step from cache to memory: covariances of 158 MB (200 arms of 256
    features) are read at 21 to 24 GB/s, those of 2.4 MB at 74.
    """
    costs = measured(rounds or ROUNDS)
    print(table(costs))
    draw(PICTURE, costs)
    (smaller, greater), _ = steepest(costs)
    yield Contest(
        f"growth of arms * features^2 / of cost, {_named(smaller)} to {_named(greater)}",
        lambda: work(greater) / work(smaller),
        lambda: costs[greater] / costs[smaller],
        floor=1 / 2,
        aim=1,
        unit="times as much",
        rounds=1,
    )


def measured(rounds: int) -> dict[Size, float]:
    """Microseconds of a decision of each size: the median of rounds that take turns."""
    decisions = {size: a_decision(*size) for size in product(ARMS, FEATURES)}
    trials: dict[Size, list[float]] = {size: [] for size in decisions}
    for _ in range(rounds):
        for size, decision in decisions.items():
            trials[size].append(_seconds(decision) * 1e6)
    return {size: statistics.median(seconds) for size, seconds in trials.items()}


def a_decision(arms: int, features: int) -> Callable[[], Decision]:
    """Thompson sampling among so many arms with beliefs that differ, at one context."""
    random = np.random.default_rng(arms * 1000 + features)
    snapshot = _made_up(arms, features, random)
    context = random.normal(size=features).astype(np.float32)
    query = Query(policy="p", vector=None, input_tokens=500)
    id_ = decision_id(0, 0)
    return lambda: decide(snapshot, query, context, decision_id=id_, at=NOW).decision


def work(size: Size) -> float:
    """What a decision of that size may cost, in units of its own: arms * features^2."""
    arms, features = size
    return arms * features**2


def steepest(costs: Costs) -> tuple[tuple[Size, Size], float]:
    """The pair between which cost grew most beside arms * features^2, and how much beside it."""
    growth = {
        (smaller, greater): costs[greater] / costs[smaller] / (work(greater) / work(smaller))
        for smaller in costs
        for greater in costs
        if smaller != greater and smaller[0] <= greater[0] and smaller[1] <= greater[1]
    }
    pair = max(growth, key=lambda each: growth[each])
    return pair, growth[pair]


def table(costs: Costs) -> str:
    """Microseconds, arms downwards and features across."""
    lines = ["a decision, us" + "".join(f"{features:>7} d" for features in FEATURES)]
    for arms in ARMS:
        row = "".join(f"{costs[arms, features]:9,.0f}" for features in FEATURES)
        lines.append(f"{arms:9} arms{row}")
    return "\n".join(lines)


def draw(path: Path, costs: Costs) -> None:
    """One line per number of features over the arms, and the slope that is allowed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.5, 4.6), layout="constrained")
    for features, colour in zip(FEATURES, COLOURS, strict=False):
        cost = [costs[arms, features] for arms in ARMS]
        label = f"{features} features"
        axes.plot(ARMS, cost, color=colour, marker="o", linewidth=1.2, label=label)
    lowest = min(costs.values())
    allowed = [lowest * arms / ARMS[0] for arms in ARMS]
    label = "in proportion to arms"
    axes.plot(ARMS, allowed, color=GREY, linestyle="--", linewidth=1, label=label)
    axes.legend(frameon=False, loc="upper left", reverse=True)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(ARMS, [str(arms) for arms in ARMS])
    axes.minorticks_off()
    axes.set_xlabel("arms")
    axes.set_ylabel("microseconds per decision")
    axes.set_title("One whole decision, from a snapshot to what is recorded", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _made_up(arms: int, features: int, random: np.random.Generator) -> Snapshot:
    policy = a_policy(arms=[an_arm(f"arm {number}") for number in range(arms)])
    snapshot = snapshot_of(policy, learned_version=0, changed={}, previous=None, now=NOW)
    # A decision looks at no schema, only at arrays: of as many features as one likes.
    shape = (arms, len(HEADS))
    covariances = np.zeros((*shape, features * (features + 1) // 2))
    diagonal = np.cumsum(np.arange(1, features + 1)) - 1
    covariances[..., diagonal] = random.uniform(0.5, 2, size=(*shape, features)) * 1e-3 / features
    return replace(
        snapshot,
        means=random.normal(size=(*shape, features)) * 0.05 / np.sqrt(features),
        covariances=covariances,
        noise=np.full(shape, 0.01),
    )


def _seconds(work: Callable[[], object]) -> float:
    """Of one call, among as many as take a while."""
    calls, started = 0, time.perf_counter()
    while (spent := time.perf_counter() - started) < _TRIAL_S:
        work()
        calls += 1
    return spent / calls


def _named(size: Size) -> str:
    return f"{size[0]} x {size[1]}"
