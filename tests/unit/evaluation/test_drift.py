"""Scripts under replay: what routers are told, what is revealed, and how it is measured."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from bandit.domain.budget import Budget
from bandit.domain.policy import ContextSettings, ContextSource, PolicySettings, Range
from bandit.domain.preference import Preference
from bandit.domain.price import Price
from bandit.evaluation.contenders import CONTENDERS
from bandit.evaluation.frontier import hull, mixed_hull
from bandit.evaluation.outcomes import outcomes_at
from bandit.evaluation.phases import phases_of
from bandit.evaluation.regret import measured, regrets_of
from bandit.evaluation.replay import Played, play, present_at_first
from bandit.evaluation.runs import run
from bandit.evaluation.script import Change, Event, Script
from bandit.evaluation.stream import StreamSettings, stream_of
from bandit.evaluation.trial import Trial
from bandit.policies.utility import Normaliser
from tests.unit.evaluation.test_play import Recording, a_table

MODELS = ("arm 0", "arm 1", "arm 2")
PRICE = Price(1.0, 2.0, 0.5)
COST_RANGE = Range(1e-5, 1e-1)
NORMALISER = Normaliser(COST_RANGE, Range(300.0, 30_000.0))
FOR_BOTH = (Preference(0.8, 0.2),)


def a_script(*events):
    return Script(tuple(Event(*event) for event in events))


DRIFT = a_script(
    (4, Change.COST, "arm 0", 3.0),
    (4, Change.QUALITY, "arm 1", 0.5),
    (8, Change.PRICE, "arm 0", 2.0),
    (12, Change.QUALITY, "arm 1", 2.0),
)
COMINGS = a_script((5, Change.ADD, "arm 1"), (10, Change.REMOVE, "arm 0"))


def a_stream(steps=20, *, learn_first=0, delay=0.0):
    settings = StreamSettings(tradeoffs=FOR_BOTH, learn_first=learn_first, delay=delay)
    return stream_of(steps, settings, seed=1)


def by_hand(arms, script, *, learn_first=0):
    """A pass that chose these arms."""
    steps = len(arms)
    stream = a_stream(steps, learn_first=learn_first)
    return Played(stream, np.array(arms), np.ones(steps), np.zeros((steps, 3)), 1.0, script)


def test_outcomes_are_the_recorded_ones_times_the_factors_in_force():
    table, stream = a_table(20, models=3), a_stream(learn_first=2)

    found = outcomes_at(table, stream, DRIFT, np.arange(20))

    rows, measured_at = stream.rows, np.arange(20) - 2
    cost = table.cost_usd[rows].copy()
    cost[measured_at >= 4, 0] *= 3.0
    cost[measured_at >= 8, 0] *= 2.0
    quality = table.quality[rows].copy()
    quality[(measured_at >= 4) & (measured_at < 12), 1] *= 0.5
    quality[measured_at >= 12, 1] = np.minimum(2 * quality[measured_at >= 12, 1], 1.0)
    assert_allclose(found.cost_usd, cost)
    assert_allclose(found.quality, quality)
    assert (quality == 1.0).any()


def test_a_router_is_told_of_prices_and_arms_and_of_nothing_else():
    table, stream, router = a_table(20, models=3), a_stream(learn_first=3), Recording()
    script = Script(
        (*DRIFT.events, Event(8, Change.ADD, "arm 2"), Event(9, Change.REMOVE, "arm 1"))
    )

    play(table, stream, router, script=script, prices={"arm 0": PRICE, "arm 2": PRICE}, wave=6)

    assert router.told == [
        (3, "measuring"),
        (11, "add", "arm 2", PRICE),
        (11, "price", "arm 0", Price(2.0, 4.0, 1.0)),
        (12, "remove", "arm 1"),
    ]
    assert [len(wave) for wave in router.waves] == [3, 4, 4, 1, 3, 5]


def test_an_arm_comes_with_the_price_that_is_then_in_force():
    script = a_script((2, Change.PRICE, "arm 1", 0.5), (5, Change.ADD, "arm 1"))
    router = Recording()

    play(a_table(20, models=3), a_stream(), router, script=script, prices={"arm 1": PRICE})

    assert router.told[1:] == [(5, "add", "arm 1", Price(0.5, 1.0, 0.25))]
    assert present_at_first(script, MODELS) == ("arm 0", "arm 2")


def test_what_arrives_is_what_held_when_the_decision_was_made():
    table, stream, router = a_table(20, models=3), a_stream(delay=6.0), Recording()
    script = a_script((10, Change.COST, "arm 0", 5.0))

    play(table, stream, router, script=script)

    position_of = {row: at for at, row in enumerate(stream.rows.tolist())}
    assert any(decided > 10 > position_of[one.row] for decided, one in router.reports)
    for _, arrival in router.reports:
        factor = 5.0 if position_of[arrival.row] >= 10 else 1.0
        assert arrival.cost_usd == pytest.approx(factor * table.cost_usd[arrival.row, 0])


def test_references_choose_among_those_that_are_there():
    """Three stretches, of arms {0, 2}, {0, 1, 2} and {1, 2}; in each, by brute force."""
    table = a_table(20, models=3)
    one = by_hand([0] * 10 + [1] * 10, COMINGS)

    found = measured(table, one, NORMALISER)

    stretches = [(range(5), (0, 2)), (range(5, 10), (0, 1, 2)), (range(10, 20), (1, 2))]
    rows, (tradeoff,) = one.stream.rows, FOR_BOTH
    utility = tradeoff.quality * table.quality - tradeoff.cost * NORMALISER.cost(table.cost_usd)
    best, oracle, cheapest = [], [], []
    for positions, arms in stretches:
        here = [rows[at] for at in positions]
        arm = max(arms, key=lambda arm: utility[here, arm].mean())
        best += [utility[row, arm] for row in here]
        arm = min(arms, key=lambda arm: table.cost_usd[here, arm].mean())
        cheapest += [table.cost_usd[row, arm] for row in here]
        oracle += [max(utility[row, arm] for arm in arms) for row in here]
    gained = [utility[row, arm] for row, arm in zip(rows, one.arms, strict=True)]
    assert found.utility == pytest.approx(np.mean(gained))
    assert found.best_single.utility == pytest.approx(np.mean(best))
    assert found.regret == pytest.approx(np.mean(best) - np.mean(gained))
    assert found.cheapest.cost_usd == pytest.approx(np.mean(cheapest))
    assert found.oracle.utility == pytest.approx(np.mean(oracle))
    assert regrets_of(table, one, NORMALISER).mean() == pytest.approx(found.regret)
    assert found.single_quality[1] == pytest.approx(table.quality[rows[5:], 1].mean())


def test_a_mix_of_parts_is_at_least_as_good_as_any_mix_within_each():
    """Random mixes in two parts never lie above the hull of both, and its corners are reached."""
    random = np.random.default_rng(5)
    parts = [(0.3, *random.uniform(size=(2, 3))), (0.7, *random.uniform(size=(2, 4)))]

    cost, quality = mixed_hull(parts)

    for _ in range(500):
        mixes = [random.dirichlet(np.full(len(c), 0.3)) for _, c, _ in parts]
        at = sum(w * (mix @ c) for (w, c, _), mix in zip(parts, mixes, strict=True))
        reached = sum(w * (mix @ q) for (w, _, q), mix in zip(parts, mixes, strict=True))
        assert np.interp(at, cost, quality) >= reached - 1e-9
    assert quality[-1] == pytest.approx(sum(w * q.max() for w, _, q in parts))
    assert cost[0] == pytest.approx(sum(w * c.min() for w, c, _ in parts))
    assert (np.diff(quality) / np.diff(cost) > 0).all()


def test_the_mixed_hull_of_one_part_is_its_hull():
    cost, quality = np.random.default_rng(2).uniform(size=(2, 6))

    found = mixed_hull([(1.0, cost, quality)])

    for one, two in zip(found, hull(cost, quality), strict=True):
        assert_allclose(one, two)


def test_phases_are_the_pieces_between_events_and_add_up():
    table = a_table(20, models=3)
    passes = [by_hand(arms, DRIFT, learn_first=3) for arms in ([0] * 20, [1] * 20)]
    budget = Budget(target_usd=0.002)

    phases = phases_of(table, passes, NORMALISER, budget=budget)

    assert [(phase.start, phase.end) for phase in phases] == [(0, 4), (4, 8), (8, 12), (12, 17)]
    assert phases[0].changes == ()
    assert phases[1].changes == ("cost arm 0 x3", "quality arm 1 x0.5")
    whole = [measured(table, one, NORMALISER, budget=budget) for one in passes]
    for name in ("quality", "cost_usd", "utility", "utilisation"):
        total = sum(phase.queries * getattr(phase, name).mean for phase in phases)
        assert total / 17 == pytest.approx(np.mean([getattr(one, name) for one in whole]))
    assert phases[2].shares == {"arm 0": 0.5, "arm 1": 0.5, "arm 2": 0.0}


def test_without_events_there_are_no_phases():
    assert phases_of(a_table(20, models=3), [by_hand([0] * 20, Script())], NORMALISER) == ()


def a_trial(script, *, steps=300, contender="policy"):
    """Arm 0 is best, arm 1 second, arm 2 bad; the contexts say nothing."""
    table = a_table(steps, models=3)
    table.quality[:] = [0.95, 0.8, 0.2]
    table.cost_usd[:] = 1e-3
    settings = PolicySettings(
        context=ContextSettings(source=ContextSource.VECTOR, vector_length=2),
        cost_range=COST_RANGE,
    )
    contexts = np.random.default_rng(3).normal(size=(steps, 3)).astype(np.float32)
    contexts[:, -1] = 1.0
    stream = StreamSettings(tradeoffs=(Preference(1.0),), delay=2.0)
    return Trial(
        table,
        contexts,
        settings,
        dict.fromkeys(MODELS, PRICE),
        stream,
        script=script,
        contender=contender,
    )


@pytest.mark.parametrize("contender", CONTENDERS)
def test_every_contender_keeps_to_the_arms_that_are_there(contender):
    script = a_script(
        (100, Change.ADD, "arm 0"), (150, Change.PRICE, "arm 0", 0.5), (200, Change.REMOVE, "arm 1")
    )

    played = run(a_trial(script, contender=contender), 7)

    positions = np.arange(300)
    assert (played.arms[positions < 100] != 0).all()
    assert (played.arms[positions >= 200] != 1).all()
    assert (played.arms[50:100] == 1).mean() > 0.8
    assert (played.arms[150:] == 0).mean() > 0.8
    assert ((played.propensities > 0) & (played.propensities <= 1 + 1e-12)).all()


def test_a_told_price_is_in_force_with_the_next_decision():
    """Its prediction of cost changes by exactly the ratio of the prices, and no other does."""
    script = a_script((150, Change.PRICE, "arm 0", 0.25))
    trial = a_trial(script)

    played = run(trial, 1)

    at = [position for position in range(140, 160) if played.arms[position] == 0]
    before, after = (
        [played.predicted[position, 1] for position in at if (position < 150) == early]
        for early in (True, False)
    )
    assert after[0] / before[-1] == pytest.approx(0.25, rel=0.02)


def test_the_context_free_policy_does_not_look_at_contexts():
    trial = a_trial(Script(), contender="context_free")
    blind = Trial(**{**_fields(trial), "contexts": np.zeros_like(trial.contexts)})

    assert_array_equal(run(trial, 2).arms, run(blind, 2).arms)


def _fields(trial):
    return {name: getattr(trial, name) for name in Trial.__dataclass_fields__}
