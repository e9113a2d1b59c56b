from datetime import timedelta

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bandit.learning.alarms import Alarm, discounted, weight_after
from bandit.learning.sums import Sums, packed_length
from tests.builders import NOW

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("decided_at", "weight"),
    [(NOW - HOUR, 0.1 * 0.5), (NOW, 0.1 * 0.5), (NOW + HOUR, 0.5), (NOW + 3 * HOUR, 1.0)],
    ids=["before both", "at the first", "between", "after both"],
)
def test_every_alarm_at_or_after_a_decision_takes_its_share(decided_at, weight):
    alarms = [Alarm(NOW, 0.1), Alarm(NOW + 2 * HOUR, 0.5)]

    assert weight_after(alarms, decided_at) == pytest.approx(weight)


def test_without_alarms_everything_counts():
    assert weight_after([], NOW) == 1.0


def test_discounted_sums_count_every_outcome_less():
    sums = Sums(np.arange(float(packed_length(2))), 2, NOW)

    less = discounted(sums, 0.02)

    assert_allclose(less.values, 0.02 * sums.values)
    assert (less.features, less.epoch) == (2, NOW)
    assert discounted(sums, 1.0) is sums
