"""ParetoBandit through the adapter against ParetoBandit's own demonstration."""

import os
import warnings
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from bandit.domain.budget import Budget
from bandit.domain.policy import PolicySettings
from bandit.domain.preference import Preference
from bandit.evaluation.peers import available, make_peer
from bandit.evaluation.peers.packages import imported
from bandit.evaluation.replay import play
from bandit.evaluation.stream import Stream, StreamSettings, stream_of
from bandit.evaluation.table import read_vectors, subset
from bandit.evaluation.wheel import wheel_table

pytestmark = pytest.mark.skipif(
    "paretobandit" not in available(), reason="pareto_bandit is not installed"
)
QUALITY_ALONE = (Preference(quality=1),)
SETTINGS = PolicySettings()
DATA = os.environ.get("BANDIT_DATA")


def test_pareto_bandit_under_replay_is_its_own_demonstration():
    """The same vectors, orders, budget and seed give the same mean reward and cost."""
    demo = pytest.importorskip("pareto_bandit.demo", reason="its demonstration needs matplotlib")
    pacer = imported("pareto_bandit.budget_pacer").BudgetPacer(2.35e-4)
    table, prices = wheel_table()
    rows = np.r_[0:400, len(table) - 400 : len(table)]
    table = subset(table, rows)
    vectors = np.random.default_rng(1).normal(size=(800, 384))
    features = _whitened(vectors)
    halves = [
        demo.DataSplit(
            features[half],
            {model: table.quality[half, arm] for arm, model in enumerate(table.models)},
            {model: table.cost_usd[half, arm] for arm, model in enumerate(table.models)},
        )
        for half in (slice(0, 400), slice(400, 800))
    ]
    random = np.random.default_rng(3)
    order = np.concatenate([random.permutation(400), 400 + random.permutation(400)])
    stream = Stream(
        seed=3,
        rows=order,
        tradeoffs=QUALITY_ALONE * 800,
        delays=np.zeros(800, dtype=np.int64),
        has_quality=np.ones(800, dtype=bool),
        learn_first=400,
    )

    theirs = demo.run_trial(*halves, cost_penalty=0.0, budget_pacer=pacer, seed=3)
    peer = make_peer(
        "paretobandit",
        table,
        _no_contexts(table),
        prices,
        SETTINGS,
        tradeoffs=QUALITY_ALONE,
        budget=Budget(target_usd=2.35e-4),
        vectors=vectors,
        seed=3,
    )
    arms = play(table, stream, peer).arms

    measured = (order[400:], arms[400:])
    assert len(set(arms)) > 1
    assert table.quality[measured].mean() == pytest.approx(theirs.mean_reward, rel=1e-9)
    assert table.cost_usd[measured].mean() == pytest.approx(theirs.mean_cost, rel=1e-9)


@pytest.mark.data
@pytest.mark.skipif(DATA is None, reason="BANDIT_DATA is not set")
@pytest.mark.parametrize(
    ("budget_usd", "reward", "deviation"),
    [(8.29e-5, 0.8127, 0.0026), (2.35e-4, 0.8578, 0.0038), (1.5e-2, 0.9296, 0.0016)],
)
def test_pareto_bandit_earns_what_its_demonstration_earns(budget_usd, reward, deviation):
    """Means of four seeds within four standard errors of 20 seeds of `pareto_bandit.demo`."""
    table, prices = wheel_table()
    vectors = _vectors_of(table)
    settings = StreamSettings(tradeoffs=QUALITY_ALONE)
    rewards = []
    for seed in range(4):
        stream = stream_of(len(table), settings, seed=seed, warmup=1785)
        peer = make_peer(
            "paretobandit",
            table,
            _no_contexts(table),
            prices,
            SETTINGS,
            tradeoffs=QUALITY_ALONE,
            budget=Budget(target_usd=budget_usd),
            vectors=vectors,
            seed=seed,
        )
        arms = play(table, stream, peer).arms
        rewards.append(table.quality[stream.rows[1785:], arms[1785:]].mean())

    assert np.mean(rewards) == pytest.approx(reward, abs=4 * deviation / 2)


def _whitened(vectors):
    """PCA by hand: components of centred unit vectors over their deviations, and a bias."""
    joblib = imported("joblib")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pca = joblib.load(imported("pareto_bandit.config").DEFAULT_PCA_PATH)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = (unit - pca.mean_) @ pca.components_.T / np.sqrt(pca.explained_variance_)
    return np.column_stack([scores, np.ones(len(vectors))])


def _vectors_of(table):
    """The recorded vectors of the same prompts."""
    folder = Path(DATA)
    rows = pq.read_table(folder / "paretobandit.parquet", columns=["query_id", "query"])
    id_of = dict(zip(rows["query"].to_pylist(), rows["query_id"].to_pylist(), strict=True))
    return read_vectors(folder / "paretobandit.minilm.npz", [id_of[text] for text in table.texts])


def _no_contexts(table):
    """It has features of its own."""
    return np.ones((len(table), 1), dtype=np.float32)
