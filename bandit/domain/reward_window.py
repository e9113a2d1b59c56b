"""How long outcomes of an objective are waited for, and what counts when none comes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from bandit.domain.errors import InvalidInput
from bandit.domain.objective import Objective

MOST_WAITING_HOURS = 8784.0  # a leap year


@dataclass(frozen=True, slots=True)
class RewardWindow:
    """
    The time after a decision in which outcomes of an objective count.

    hours    above 0, at most 8784
    default  what counts when none came, in the objective's unit; outcomes are then learned when
             the window closes, so that arms whose feedback is quick are not favoured.  None:
             nothing counts, and outcomes are learned at once
    """

    hours: float
    default: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.hours <= MOST_WAITING_HOURS:
            raise InvalidInput(
                "window.window_hours", f"must be above 0, at most {MOST_WAITING_HOURS:g}"
            )


@dataclass(frozen=True, slots=True)
class Deadline:
    """The window of one (decision, head) as it was in force: until when, and what if nothing."""

    due_at: datetime
    default: float | None = None


NO_WINDOWS: Mapping[Objective, RewardWindow] = MappingProxyType({})
NO_DEADLINES: Mapping[Objective, Deadline] = MappingProxyType({})


def check_default(objective: Objective, default: float | None) -> None:
    """A default is a value that could have been reported."""
    if default is None:
        return
    match objective:
        case Objective.QUALITY if not 0 <= default <= 1:
            raise InvalidInput("window.default_value", "must be from 0 to 1")
        case Objective.COST if not (math.isfinite(default) and default >= 0):
            raise InvalidInput("window.default_value", "must be a finite number, not negative")
        case Objective.LATENCY if not (math.isfinite(default) and default > 0):
            raise InvalidInput("window.default_value", "must be a finite number above 0")


def deadlines_of(
    windows: Mapping[Objective, RewardWindow], at: datetime
) -> Mapping[Objective, Deadline]:
    """What these windows mean for a decision made at `at`."""
    if not windows:
        return NO_DEADLINES
    return MappingProxyType(
        {
            objective: Deadline(at + timedelta(hours=window.hours), window.default)
            for objective, window in sorted(windows.items())
        }
    )
