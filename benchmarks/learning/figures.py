"""A claim, what was measured, and the bound that it has to keep."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bandit.evaluation.replay import Played
from bandit.evaluation.runs import run_each
from bandit.evaluation.trial import Trial

Passes = Mapping[str, Sequence[Played]]


@dataclass(frozen=True, slots=True)
class Figure:
    """
    One number of a claim.

    values      one per seed
    bound       the least or the most that their mean (or their worst) may be; None: shown only
    is_ceiling  the bound is the most
    is_worst    every seed is held to the bound, not their mean
    """

    claim: str
    values: tuple[float, ...]
    bound: float | None = None
    is_ceiling: bool = False
    is_worst: bool = False

    @property
    def measured(self) -> float:
        """The mean over the seeds, or the worst of them."""
        if not self.is_worst:
            return float(np.mean(self.values))
        return max(self.values) if self.is_ceiling else min(self.values)

    @property
    def deviation(self) -> float:
        """Sample standard deviation over the seeds; 0 of a single one."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else 0.0

    @property
    def holds(self) -> bool:
        """Whether the bound is kept."""
        return self.excess <= 0

    @property
    def excess(self) -> float:
        """By how much the bound is missed; negative: by how much it is kept."""
        if self.bound is None:
            return -float("inf")
        return self.measured - self.bound if self.is_ceiling else self.bound - self.measured


@dataclass(frozen=True, slots=True)
class Section:
    """
    What one experiment shows.

    text     a paragraph before the figures
    table    rows of cells, the first one of headings; () where the figures say all
    figures  with their bounds
    """

    title: str
    text: str
    figures: tuple[Figure, ...]
    table: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Experiment:
    """
    Replays to be played, and what is read from them.

    trials  by a name of their own
    seeds   of every trial
    read    from the passes of every trial, in the order of the seeds, to what they show
    play    plays the trials with the seeds, as `run_each` does in this machine's processes
    """

    trials: Mapping[str, Trial]
    seeds: range
    read: Callable[[Passes], Section]
    play: Callable[..., list[list[Played]]] = run_each

    @property
    def decisions(self) -> int:
        """How many decisions it takes."""
        return len(self.seeds) * sum(len(trial.table) for trial in self.trials.values())
