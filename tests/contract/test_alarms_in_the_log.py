"""An alarm is an event of the log: in both stores the sums are those that the log gives with it."""

import random
from datetime import timedelta

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bandit.domain.policy import Detector, DriftSettings, PolicySettings
from bandit.features.schema import schema_of
from bandit.learning.decay import Forgetting, as_of
from bandit.routing.learner import fold_due
from tests.builders import A_CONTEXT, NOW, a_policy
from tests.drifting import (
    drifting_decisions,
    drifting_outcomes,
    latest_values,
    sums_from_the_log,
)

pytestmark = pytest.mark.asyncio
LATER = NOW + timedelta(days=1)


@pytest.mark.parametrize("kind", [Detector.CUSUM, Detector.ADWIN])
async def test_the_sums_are_those_of_the_log_with_its_alarms(store, kind):
    rng = random.Random(7)
    kept = PolicySettings(context=A_CONTEXT, drift=DriftSettings(kind, kind, kind))
    policy = store.with_policy(a_policy(settings=kept))
    decisions = drifting_decisions(policy, rng)
    await store.decisions.record(decisions)
    rows = drifting_outcomes(decisions, rng, delay=10.0)

    sent = list(rows)
    while sent:
        await store.outcomes.append(policy.id, sent[:25])
        now = max(row.received_at for row in rows[: len(rows) - len(sent) + 25])
        sent = sent[25:]
        fold_due(store.learning, policy, now=now, limit=rng.randint(5, 50))
    while store.posteriors.pending(policy.id):
        fold_due(store.learning, policy, now=LATER)

    _, stored = store.posteriors.learned(policy.id, schema_of(A_CONTEXT).id, known={})
    with store.learning.begin(policy.id) as fold:
        monitors = fold.monitors(list(stored))
    alarms = {cell: monitor.alarms for cell, monitor in monitors.items()}
    expected = sums_from_the_log(decisions, latest_values(rows), alarms, now=LATER)
    assert sum(map(len, alarms.values())) >= 2
    assert set(stored) == set(expected)
    for cell, wanted in expected.items():
        tolerance = 1e-9 * (1 + np.abs(wanted).max())
        held = as_of(stored[cell].sums, LATER, Forgetting(None, stored[cell].alarms))
        assert_allclose(held.values, wanted, rtol=0, atol=tolerance)
        assert stored[cell].alarms == alarms[cell]
