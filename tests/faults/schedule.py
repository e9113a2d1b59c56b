"""What goes wrong, and when: a function of the seed and of nothing else."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

KILLS = (
    "router",
    "learner",
    "other router",
    "backend",
    "other learner",
    "postmaster",
    "immediate shutdown",
)
TROUBLES = ("disk full", "statement timeout", "corrupt sums")
CUTS = ("refuse", "stall", "reset", "delay")


@dataclass(frozen=True, slots=True)
class Fault:
    """
    One thing that goes wrong.

    pause_s  since the one before is over
    lasts_s  of those that last
    choice   in [0, 1): which of several it hits
    """

    pause_s: float
    kind: str
    lasts_s: float
    choice: float


def schedule(
    seed: int,
    kinds: Sequence[str],
    count: int,
    *,
    mean_pause_s: float = 1.5,
    longest_s: float = 3.0,
) -> list[Fault]:
    """So many faults at random moments, of each kind equally many (but for one)."""
    draw = random.Random(seed)
    order: list[str] = []
    while len(order) < count:
        order += draw.sample(list(kinds), len(kinds))
    return [
        Fault(draw.expovariate(1 / mean_pause_s), kind, draw.uniform(0.3, longest_s), draw.random())
        for kind in order[:count]
    ]
