"""A replay with learning, beside the plain NumPy loop that does the same work."""

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bandit.domain.policy import ContextSettings, ContextSource, NamedFeature, PolicySettings
from bandit.domain.preference import Preference
from bandit.evaluation.runs import run
from bandit.evaluation.stream import StreamSettings
from bandit.evaluation.trial import Trial
from bandit.policies.utility import cost_range_of
from benchmarks.contest import Contest
from benchmarks.replay import made_up

QUERIES, PLAIN_QUERIES, ARMS, FEATURES, HEADS = 2000, 150, 12, 48, 3
WAVE = 64  # as many as a busy service decides between two snapshots, at least


def contests() -> Iterator[Contest]:
    """One."""
    table, prices = made_up(QUERIES, ARMS)
    random = np.random.default_rng(0)
    contexts = random.normal(size=(QUERIES, FEATURES)).astype(np.float32)
    contexts[:, -1] = 1.0
    named = tuple(NamedFeature(f"feature {n}", 0.0, 1.0) for n in range(FEATURES - 1))
    settings = PolicySettings(
        context=ContextSettings(source=ContextSource.NONE, named=named),
        cost_range=cost_range_of(prices.values(), input_tokens=float(table.request_tokens.mean())),
    )
    stream = StreamSettings(tradeoffs=(Preference(0.8, 0.2),))
    trial = Trial(table, contexts, settings, prices, stream)

    def ours(wave: int) -> float:
        started = time.process_time()
        run(replace(trial, wave=wave), 0)
        return QUERIES / (time.process_time() - started)

    def plain() -> float:
        rows = contexts.astype(np.float64)
        started = time.process_time()
        _linucb(rows[:PLAIN_QUERIES], table.quality)
        return PLAIN_QUERIES / (time.process_time() - started)

    for wave in (1, WAVE):
        yield Contest(
            f"replay, {ARMS} arms, {FEATURES} features, learning every {wave} / plain NumPy LinUCB",
            lambda wave=wave: ours(wave),
            plain,
            floor=20,
            aim=50,
            unit="decisions per processor-second",
        )


def _linucb(contexts: np.ndarray, rewards: np.ndarray) -> None:
    """Li et al. (2010), Algorithm 1, for each of three heads, the sum of whose bounds decides."""
    precision = np.tile(np.eye(FEATURES), (ARMS, HEADS, 1, 1))
    moments = np.zeros((ARMS, HEADS, FEATURES))
    for context, reward in zip(contexts, rewards, strict=False):
        bounds = np.zeros(ARMS)
        for arm in range(ARMS):
            for head in range(HEADS):
                inverse = np.linalg.inv(precision[arm, head])
                mean = context @ inverse @ moments[arm, head]
                bounds[arm] += mean + np.sqrt(context @ inverse @ context)
        arm = int(bounds.argmax())
        for head in range(HEADS):
            precision[arm, head] += np.outer(context, context)
            moments[arm, head] += reward[arm] * context
