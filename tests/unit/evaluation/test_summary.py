import json

import numpy as np
import pytest

from bandit.evaluation.arena import arena_score
from bandit.evaluation.regret import measured
from bandit.evaluation.script import Script
from bandit.evaluation.summary import as_json, summary_of
from tests.unit.evaluation.test_drift import NORMALISER, a_table, by_hand


def a_summary():
    table = a_table(20, models=3)
    ours, rival = (
        [measured(table, by_hand([arm] * 20, Script()), NORMALISER) for arm in arms]
        for arms in ((0, 1), (2, 2))
    )
    summary = summary_of(
        ours, rivals={"online_knn": rival}, models=table.models, dropped=4, normaliser=NORMALISER
    )
    return summary, ours, rival


def test_a_summary_is_the_mean_and_deviation_over_seeds():
    summary, ours, rival = a_summary()

    assert (summary.queries, summary.seeds, summary.dropped) == (20, 2, 4)
    regrets = [one.regret for one in ours]
    assert summary.regret_per_step.mean == pytest.approx(np.mean(regrets))
    assert summary.regret_per_step.std == pytest.approx(np.std(regrets, ddof=1))
    scores = [arena_score(one.quality, usd_per_thousand=1000 * one.cost_usd) for one in ours]
    assert summary.arena_score.mean == pytest.approx(np.mean(scores))
    gained = [one.quality - one.zero_router.quality for one in ours]
    assert summary.over_zero_router.mean == pytest.approx(np.mean(gained))
    assert summary.shares == {"arm 0": 0.5, "arm 1": 0.5, "arm 2": 0.0}
    assert summary.references["online_knn"].regret == pytest.approx(rival[0].regret)


def test_json_leaves_out_what_has_no_value():
    summary, _, _ = a_summary()

    written = json.loads(json.dumps(as_json(summary), allow_nan=False))

    assert set(written["references"]["zero_router"]) == {"quality", "cost_usd"}
    assert set(written["references"]["best_single"]) == {"arm", "quality", "cost_usd", "utility"}
    assert "arm" not in written["references"]["online_knn"]
    for name in ("utilisation", "phases", "frontier", "aiq", "latency_ms"):
        assert name not in written
