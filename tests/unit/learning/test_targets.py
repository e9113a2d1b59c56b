import math

import pytest

from bandit.domain.objective import Objective
from bandit.learning.targets import target_of


@pytest.mark.parametrize(
    ("objective", "value", "target"),
    [
        (Objective.QUALITY, 0.65, -0.25),
        (Objective.QUALITY, 0.9, 0.0),
        (Objective.COST, 0.002, 0.0),
        (Objective.COST, 0.004, math.log(2)),
        (Objective.COST, 0.0, math.log(1e-9 / 0.002)),
        (Objective.LATENCY, 1500.0, 0.0),
        (Objective.LATENCY, 750.0, -math.log(2)),
        (Objective.LATENCY, 1e-300, math.log(1e-3 / 1500)),
    ],
)
def test_the_target_is_the_value_without_its_prior_mean(objective, value, target):
    """quality - .9; ln cost - ln .002; ln latency - ln 1500 ms; floored where there is no log."""
    result = target_of(objective, value, list_usd=0.002, quality_prior_mean=0.9)

    assert result == pytest.approx(target, abs=1e-12)
