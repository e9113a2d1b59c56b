"""Everything that a replay depends on besides its seed."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bandit.domain.budget import Budget
from bandit.domain.objective import Objective
from bandit.domain.offline_prior import OfflinePrior
from bandit.domain.policy import PolicySettings
from bandit.domain.price import Price
from bandit.evaluation.script import NO_SCRIPT, Script
from bandit.evaluation.stream import StreamSettings
from bandit.evaluation.table import OutcomeTable
from bandit.kernels.jit import Array

POLICY_ITSELF = "policy"

PriorsByModel = Mapping[str, Mapping[Objective, OfflinePrior]]


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """
    What is played, how, and by whom.

    contexts   (queries, features) of the table
    warmup     the first so many rows are played first and not measured
    wave       decisions made from one learned state
    budget     None: the trade-offs of the stream say what money is worth
    script     what changes on the way
    contender  who plays: a name of `contenders.CONTENDERS`, or of `peers.PEERS`
    offline    priors of arms from outcomes recorded elsewhere, by model
    vectors    (queries, length) for the peers that read vectors of their own
    """

    table: OutcomeTable
    contexts: NDArray[np.float32]
    policy: PolicySettings
    prices: Mapping[str, Price]
    stream: StreamSettings
    warmup: int = 0
    wave: int = 1
    budget: Budget | None = None
    script: Script = NO_SCRIPT
    contender: str = POLICY_ITSELF
    offline: PriorsByModel = field(default_factory=dict)
    vectors: Array | None = None
