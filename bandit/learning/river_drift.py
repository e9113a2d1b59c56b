"""
River's detectors behind the interface of `drift.py`; never imported by the serving process.

What River keeps has no form to store, so the memory is the residuals themselves: those since the
last finding, at most `LONGEST_MEMORY`; when they are more, the older half is forgotten.  A detector
that is at hand here goes on; one that is not is made again by replaying the memory.  Both are the
same function of the memory.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from river.drift import ADWIN, PageHinkley

from bandit.domain.policy import Detector
from bandit.learning.alarms import Direction
from bandit.learning.drift import Finding, Memory

LONGEST_MEMORY = 1000
RECENT = 20
MOST_AT_HAND = 1024


@dataclass(frozen=True, slots=True, eq=False)
class RiverDetector:
    """
    One of River's detectors, made by `make`.

    The finding's direction is that of the last residuals against those before; its statistic is
    the difference of their means, in deviations.
    """

    make: Callable[[], Any]
    _at_hand: OrderedDict[Memory, Any] = field(default_factory=OrderedDict)

    def observe(self, memory: Memory, residual: float) -> tuple[Memory, Finding | None]:
        """memory: the residuals since the last finding"""
        if len(memory) >= LONGEST_MEMORY:
            memory = memory[LONGEST_MEMORY // 2 :]
        detector = self._at_hand.pop(memory, None)
        if detector is None:
            detector = self.make()
            for earlier in memory:
                detector.update(earlier)
        detector.update(residual)
        seen = (*memory, residual)
        if detector.drift_detected:
            return (), _finding(seen)
        self._at_hand[seen] = detector
        while len(self._at_hand) > MOST_AT_HAND:
            self._at_hand.popitem(last=False)
        return seen, None


@lru_cache
def river_detector(kind: Detector) -> RiverDetector:
    """One for all cells: what is at hand is found by its memory."""
    if kind is Detector.PAGE_HINKLEY:
        return RiverDetector(_page_hinkley)
    return RiverDetector(_adwin)


def _page_hinkley() -> PageHinkley:
    # In deviations, as the `Cusum` of quality; River's own defaults find late what they find.
    return PageHinkley(min_instances=1, delta=0.5, threshold=12.0)


def _adwin() -> ADWIN:
    # Looks after every residual, where River's default is every 32.
    return ADWIN(delta=0.002, clock=1)  # type: ignore[no-untyped-call]


def _finding(seen: Memory) -> Finding:
    recent = max(1, min(RECENT, len(seen) // 2))
    before = np.mean(seen[:-recent]) if len(seen) > recent else 0.0
    shift = float(np.mean(seen[-recent:]) - before)
    return Finding(Direction.UP if shift > 0 else Direction.DOWN, shift)
