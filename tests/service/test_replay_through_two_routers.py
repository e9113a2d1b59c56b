"""Recorded outcomes, decided by two routers in turn and learned late."""

import os
from dataclasses import replace

import numpy as np
import pytest

from bandit.domain.policy import Detector, DriftSettings, PolicySettings
from bandit.evaluation.in_process import table_contexts
from bandit.evaluation.runs import run, run_all
from bandit.evaluation.stream import StreamSettings
from bandit.evaluation.table import subset
from bandit.evaluation.trial import Trial
from bandit.evaluation.wheel import wheel_table
from bandit.features.encoder import WordLlamaEncoder
from bandit.policies.utility import cost_range_of
from benchmarks.learning.budgets import TARGETS, results
from benchmarks.learning.recorded import pareto_protocol
from benchmarks.learning.wire import delayed, through
from services.supervisor import Stack

FIRST, PROMPTS = 300, 600  # to learn from, of the validation split; measured, of the test split
TARGET_USD = TARGETS[2]  # between the cheapest model and the one in the middle
SEEDS, SEED, DEVIATIONS = range(10), 0, 4.0
# Whether a false alarm is raised hangs on the order in which outcomes are learned.
UNWATCHED = DriftSettings(quality=Detector.OFF, cost=Detector.OFF, latency=Detector.OFF)


def test_two_routers_in_turn_make_the_decisions_of_one_in_process(
    stack: Stack, other_target: str
) -> None:
    """Without a budget nothing of a decision is a router's own: not its draw, nor its beliefs."""
    whole, prices = wheel_table()
    table = subset(whole, np.arange(300))
    settings = PolicySettings(cost_range=cost_range_of(prices.values()))
    contexts = table_contexts(table, settings, WordLlamaEncoder(), None)
    stream = StreamSettings(tradeoffs="random")
    trial = delayed(Trial(table, contexts, settings, prices, stream))

    wired = through((stack.target, other_target), trial, SEED)

    here = run(trial, SEED)
    assert wired.arms.tolist() == here.arms.tolist()
    np.testing.assert_allclose(wired.propensities, here.propensities, rtol=1e-9)


@pytest.mark.data
@pytest.mark.skipif("BANDIT_DATA" not in os.environ, reason="BANDIT_DATA is not set")
def test_two_routers_earn_and_spend_what_one_in_process_does(
    stack: Stack, other_target: str
) -> None:
    """Within four deviations of one seed among ten, for reward and utilisation alike."""
    whole = pareto_protocol(has_validation=True)
    rows = np.concatenate([np.arange(FIRST), whole.first + np.arange(PROMPTS)])
    data = replace(
        whole,
        table=subset(whole.table, rows),
        contexts=whole.contexts[rows],
        first=FIRST,
        settings=replace(whole.settings, drift=UNWATCHED),
    )
    trial = delayed(data.under_budget(TARGET_USD))
    here = results(data, run_all(trial, SEEDS), TARGET_USD)

    (wired,) = results(data, [through((stack.target, other_target), trial, SEED)], TARGET_USD)

    for name in ("quality", "utilisation"):
        values = [getattr(one, name) for one in here]
        allowed = DEVIATIONS * float(np.std(values, ddof=1))
        got, expected = getattr(wired, name), float(np.mean(values))
        print(f"\n{name}: {got:.4f}, in process {expected:.4f} +- {allowed:.4f}")
        assert got == pytest.approx(expected, abs=allowed)
