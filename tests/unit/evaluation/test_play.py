import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from bandit.domain.policy import ContextSettings, ContextSource, PolicySettings, Range
from bandit.domain.preference import Preference
from bandit.evaluation.in_process import table_contexts
from bandit.evaluation.replay import Choice, play
from bandit.evaluation.runs import Trial, run, run_all
from bandit.evaluation.stream import StreamSettings, decision_id, stream_of
from bandit.evaluation.table import OutcomeTable

SETTINGS = StreamSettings(tradeoffs=(Preference(0.8, 0.2),))


class Recording:
    """Implements `ReplayRouter`: always the first arm, and a record of what happened when."""

    def __init__(self):
        self.waves = []
        self.reports = []  # (decisions made so far, arrival)
        self.told = []  # (decisions made so far, what, ...)

    @property
    def decided(self):
        return sum(map(len, self.waves))

    def choose(self, asks):
        self.waves.append(list(asks))
        return [Choice(arm=0, propensity=0.5, predicted=(0.9, 0.1, 10.0)) for _ in asks]

    def begin_measuring(self):
        self.told.append((self.decided, "measuring"))

    def set_price(self, model, price):
        self.told.append((self.decided, "price", model, price))

    def add_arm(self, model, price):
        self.told.append((self.decided, "add", model, price))

    def remove_arm(self, model):
        self.told.append((self.decided, "remove", model))

    def report(self, arrivals):
        self.reports.extend((self.decided, arrival) for arrival in arrivals)


def a_table(queries, *, models=2, latency=False):
    random = np.random.default_rng(queries)
    shape = (queries, models)
    return OutcomeTable(
        query_ids=tuple(f"q{row}" for row in range(queries)),
        texts=("",) * queries,
        models=tuple(f"arm {arm}" for arm in range(models)),
        quality=random.uniform(size=shape),
        cost_usd=random.uniform(1e-4, 1e-2, size=shape),
        latency_ms=random.uniform(100, 9000, size=shape) if latency else None,
        request_tokens=np.full(queries, 100),
    )


def played(stream, *, wave=1, table=None):
    router = Recording()
    result = play(table or a_table(len(stream)), stream, router, wave=wave)
    return result, router


def test_an_outcome_without_delay_is_reported_before_the_next_decision():
    stream = stream_of(5, SETTINGS, seed=1)

    _, router = played(stream)

    reported = {arrival.decision_id: decided for decided, arrival in router.reports}
    assert reported == {decision_id(1, position): position + 1 for position in range(4)}


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 1000), delay=st.sampled_from([0.0, 2.0, 10.0]), wave=st.integers(1, 7))
def test_an_outcome_is_reported_before_the_first_wave_at_which_it_is_due(seed, delay, wave):
    """Due delay + 1 decisions after its own, and so at the next multiple of the wave."""
    wanted = StreamSettings(tradeoffs=(Preference(1.0),), delay=delay)
    stream = stream_of(40, wanted, seed=seed)

    _, router = played(stream, wave=wave)

    due = np.arange(40) + 1 + stream.delays
    before = -(-due // wave) * wave
    reported = {arrival.decision_id: decided for decided, arrival in router.reports}
    assert reported == {
        decision_id(seed, position): moment
        for position, moment in enumerate(before.tolist())
        if moment < 40
    }


def test_the_router_is_shown_the_queries_in_waves():
    stream = stream_of(7, SETTINGS, seed=1)
    told = []

    router = Recording()
    play(a_table(7), stream, router, wave=3, on_wave=told.append)

    assert told == [3, 3, 1]
    asks = [ask for wave in router.waves for ask in wave]
    assert [ask.row for ask in asks] == stream.rows.tolist()
    assert [ask.decision_id for ask in asks] == [decision_id(1, i) for i in range(7)]


def test_only_the_chosen_arms_row_is_reported():
    table = a_table(6, latency=True)
    table.latency_ms[2, 0] = np.nan
    wanted = StreamSettings(tradeoffs=(Preference(1.0),), order="recorded", missing=1.0)

    _, router = played(stream_of(6, wanted, seed=1), table=table)

    arrivals = [arrival for _, arrival in router.reports]
    assert [arrival.quality for arrival in arrivals] == [None] * 5
    assert [arrival.cost_usd for arrival in arrivals] == table.cost_usd[:5, 0].tolist()
    latencies = [None if np.isnan(ms) else ms for ms in table.latency_ms[:5, 0].tolist()]
    assert [arrival.latency_ms for arrival in arrivals] == latencies


def test_what_was_chosen_is_kept_by_position():
    stream = stream_of(4, SETTINGS, seed=1)

    result, _ = played(stream)

    assert_array_equal(result.arms, [0] * 4)
    assert_array_equal(result.propensities, [0.5] * 4)
    assert_array_equal(result.predicted, [(0.9, 0.1, 10.0)] * 4)


@pytest.fixture(scope="module")
def trial():
    """A small replay through the use cases themselves, with delays and gaps."""
    table = a_table(60, models=3, latency=True)
    context = ContextSettings(source=ContextSource.NONE)
    policy = PolicySettings(context=context, cost_range=Range(1e-5, 1e-1))
    stream = StreamSettings(tradeoffs="random3", delay=3.0, missing=0.2)
    return Trial(table, table_contexts(table, policy, None, None), policy, {}, stream, wave=2)


def test_a_replay_repeats_itself_exactly(trial):
    first, again, other = (run(trial, seed) for seed in (1, 1, 2))

    assert_array_equal(first.arms, again.arms)
    assert_array_equal(first.predicted, again.predicted)
    assert (first.arms != other.arms).any()
    assert ((first.propensities > 0) & (first.propensities <= 1)).all()


@pytest.mark.parametrize("processes", [1, 2])
def test_seeds_come_back_in_the_order_they_were_asked_for(trial, processes):
    told = []

    passes = run_all(trial, [3, 1], on_decisions=told.append, processes=processes)

    assert [one.stream.seed for one in passes] == [3, 1]
    assert sum(told) == 2 * 60
    assert_array_equal(passes[1].arms, run(trial, 1).arms)
