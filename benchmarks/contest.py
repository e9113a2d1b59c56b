"""Two ways of doing the same work, in turns within one run: what is claimed is their ratio."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Contest:
    """
    Ours against a reference.

    ours, other   do a round of work and give a rate, the higher the better
    floor, aim    of the ratio ours / other
    unit          of both rates
    """

    name: str
    ours: Callable[[], float]
    other: Callable[[], float]
    floor: float
    aim: float
    unit: str = "per second"
    rounds: int = 5


@dataclass(frozen=True, slots=True)
class Measured:
    """
    What a contest came to.

    ratios  one per round, of two measurements that followed each other
    """

    name: str
    unit: str
    floor: float
    aim: float
    ours: Sequence[float] = field(default_factory=list)
    other: Sequence[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """Round by round."""
        return [ours / other for ours, other in zip(self.ours, self.other, strict=True)]

    @property
    def ratio(self) -> float:
        """The median."""
        return statistics.median(self.ratios)

    @property
    def verdict(self) -> str:
        """How the median stands to floor and aim."""
        if self.ratio >= self.aim:
            return "at its aim"
        return "holds" if self.ratio >= self.floor else "missed"


def measure(contest: Contest, *, rounds: int | None = None) -> Measured:
    """A round of each to warm up, then ABAB..."""
    contest.ours(), contest.other()
    ours, other = [], []
    for _ in range(rounds or contest.rounds):
        ours.append(contest.ours())
        other.append(contest.other())
    return Measured(contest.name, contest.unit, contest.floor, contest.aim, ours, other)
