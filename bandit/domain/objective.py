"""What is learned and traded off: one head per objective."""

from enum import IntEnum


class Objective(IntEnum):
    """
    A measured property of an answer, learned by a head of its own.

    The number is the position in every array with an axis over heads.
    """

    QUALITY = 0  # 0 to 1, higher is better
    COST = 1  # USD
    LATENCY = 2  # milliseconds at the interface, log seconds inside

    @property
    def label(self) -> str:
        """The name that callers use: `quality`, `cost` or `latency`."""
        return self.name.lower()


HEADS: tuple[Objective, ...] = tuple(Objective)
