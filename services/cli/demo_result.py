"""What a demo gave."""

from dataclasses import dataclass

from bandit.domain.budget import Budget
from bandit.evaluation.pictures import Point
from bandit.evaluation.regret import Measured
from bandit.evaluation.replay import Played
from bandit.evaluation.table import OutcomeTable
from bandit.policies.utility import Normaliser


@dataclass(frozen=True, slots=True, eq=False)
class UnderBudget:
    """
    What a budget gave, to a policy that started from nothing.

    table     the prompts that were played
    gained    means over all of them
    held_out  what it would give next, on prompts that were never played
    """

    budget: Budget
    table: OutcomeTable
    played: Played
    gained: Measured
    held_out: Point


@dataclass(frozen=True, slots=True, eq=False)
class Demo:
    """
    What was played and what it gave.

    stream        the prompts of the stream, in the order of the table
    later         one per preference: means over the second half of the stream
    held_out      prompts that were never played
    frontier      the router at several cost weights, on the held-out prompts
    under_budget  another stream, under a budget
    per_second    durable decisions per second of the stream while the router was asked
    seconds       for the whole stream, waiting for outcomes to be learned included
    """

    stream: OutcomeTable
    normaliser: Normaliser
    played: Played
    later: tuple[Measured, ...]
    held_out: OutcomeTable
    frontier: tuple[Point, ...]
    under_budget: UnderBudget
    per_second: float
    seconds: float
