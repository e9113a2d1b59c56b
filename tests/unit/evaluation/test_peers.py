import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from bandit.domain.budget import Budget
from bandit.domain.errors import InvalidInput, Unavailable
from bandit.domain.objective import Objective
from bandit.domain.policy import PolicySettings, Range
from bandit.domain.preference import Preference, WillingnessToPay
from bandit.domain.price import Price
from bandit.evaluation.peers import PEERS, available, make_peer
from bandit.evaluation.peers.packages import imported
from bandit.evaluation.peers.scalar import ScalarView, varying_weights
from bandit.evaluation.replay import Arrival, Ask, play
from bandit.evaluation.stream import StreamSettings, decision_id, stream_of
from bandit.evaluation.table import OutcomeTable
from bandit.policies.utility import Normaliser, utility_of

QUALITY_ALONE = (Preference(quality=1),)
RANGE = Range(1e-6, 1e-2)
SETTINGS = PolicySettings(cost_range=RANGE)
NORMALISER = Normaliser(RANGE, SETTINGS.latency_range_ms)
PRICES = {"cheap": Price(0.1, 0.1), "middle": Price(1.0, 1.0), "dear": Price(10.0, 10.0)}

every_peer = pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            peer,
            marks=pytest.mark.skipif(
                peer not in available(), reason=f"{PEERS[peer].module} is not installed"
            ),
        )
        for peer in PEERS
    ],
)
with_pareto_bandit = pytest.mark.skipif(
    "paretobandit" not in available(), reason="pareto_bandit is not installed"
)
with_river = pytest.mark.skipif("river-linucb" not in available(), reason="river is not installed")
with_mabwiser = pytest.mark.skipif(
    "mabwiser-lints" not in available(), reason="mabwiser is not installed"
)


def a_table(queries=50, *, quality=(0.0, 0.0, 0.9), cost_usd=(1e-5, 1e-4, 1e-3)):
    """Three arms, each with its quality and cost on every query."""
    return OutcomeTable(
        query_ids=tuple(f"q{row}" for row in range(queries)),
        texts=("",) * queries,
        models=tuple(PRICES),
        quality=np.tile(quality, (queries, 1)),
        cost_usd=np.tile(cost_usd, (queries, 1)),
        latency_ms=None,
        request_tokens=np.full(queries, 100),
    )


def contexts_for(table):
    """Two random features and a bias."""
    random = np.random.default_rng(0).normal(size=(len(table), 2))
    return np.column_stack([random, np.ones(len(table))]).astype(np.float32)


def a_peer(name, table, *, tradeoffs=QUALITY_ALONE, budget=None, seed=0, **more):
    contexts = more.pop("contexts", contexts_for(table))
    more.setdefault("vectors", None)
    return make_peer(
        name,
        table,
        contexts,
        PRICES,
        SETTINGS,
        tradeoffs=tradeoffs,
        budget=budget,
        seed=seed,
        **more,
    )


def a_stream(table, *, tradeoffs=QUALITY_ALONE, **settings):
    return stream_of(len(table), StreamSettings(tradeoffs=tradeoffs, **settings), seed=0)


def asks(*rows, first=0, tradeoff=QUALITY_ALONE[0]):
    return [Ask(decision_id(0, first + at), row, tradeoff) for at, row in enumerate(rows)]


def arrivals_of(table, wave, choices):
    return [
        Arrival(
            decision_id=ask.decision_id,
            row=ask.row,
            arm=choice.arm,
            quality=float(table.quality[ask.row, choice.arm]),
            cost_usd=float(table.cost_usd[ask.row, choice.arm]),
            latency_ms=None,
        )
        for ask, choice in zip(wave, choices, strict=True)
    ]


@every_peer
def test_a_rival_plays_a_table_with_late_and_missing_outcomes(name):
    table = a_table()

    played = play(table, a_stream(table, delay=3.0, missing=0.3), a_peer(name, table), wave=4)

    assert set(played.arms) <= {0, 1, 2}
    assert (played.propensities > 0).all()
    assert (played.propensities <= 1).all()


@every_peer
def test_a_rival_finds_the_obvious_best_arm(name):
    table = a_table(400)

    played = play(table, a_stream(table), a_peer(name, table))

    assert (played.arms[-100:] == 2).mean() > 0.8


@every_peer
def test_a_rival_under_varying_preferences_saves_for_those_who_want_it(name):
    """Quality alone wants the dear arm (.9 against .5), cost alone the cheap one."""
    table = a_table(600, quality=(0.5, 0.0, 0.9))
    tradeoffs = (Preference(quality=1), Preference(quality=0.05, cost=0.95))
    peer = a_peer(name, table, tradeoffs=tradeoffs)

    played = play(table, a_stream(table, tradeoffs=tradeoffs), peer)

    spent = table.cost_usd[0, played.arms[-200:]]
    assert spent[1::2].mean() < spent[::2].mean() / 2


@every_peer
def test_a_rival_chooses_only_arms_that_are_present(name):
    table = a_table(120)
    peer = a_peer(name, table, models=("cheap", "middle"))

    def chosen(first):
        arms = set()
        for at in range(first, first + 40):
            wave = asks(at, first=at)
            choices = peer.choose(wave)
            peer.report(arrivals_of(table, wave, choices))
            arms |= {choice.arm for choice in choices}
        return arms

    begun = chosen(0)
    waiting = asks(0, first=1000)
    late = arrivals_of(table, waiting, peer.choose(waiting))
    gone = table.models[late[0].arm]
    peer.remove_arm(gone)
    peer.add_arm("dear", PRICES["dear"])
    peer.report(late)
    peer.set_price("dear", PRICES["cheap"])
    peer.begin_measuring()
    after = chosen(40)

    assert begun <= {0, 1}
    assert after <= {0, 1, 2} - {table.models.index(gone)}


@every_peer
def test_a_rival_repeats_itself_for_a_seed(name):
    table = a_table(60, quality=(0.5, 0.5, 0.5))

    first, second = (play(table, a_stream(table), a_peer(name, table, seed=7)) for _ in range(2))

    assert_array_equal(first.arms, second.arms)
    assert_array_equal(first.propensities, second.propensities)


@every_peer
def test_what_a_rival_cannot_play_is_refused_before_it_is_made(name):
    table = a_table()
    limit = Budget(limit_usd=1.0)
    mixed = (Preference(quality=1), WillingnessToPay(0.01))

    for wanted, budget in ((QUALITY_ALONE, limit), (mixed, None)):
        with pytest.raises(InvalidInput, match=name):
            a_peer(name, table, tradeoffs=wanted, budget=budget)
    if not PEERS[name].supports_budget:
        with pytest.raises(InvalidInput, match="has no budget"):
            a_peer(name, table, budget=Budget(target_usd=1e-4))


def test_a_rival_that_does_not_exist_is_refused():
    with pytest.raises(InvalidInput, match="peers: there is no 'nobody'"):
        a_peer("nobody", a_table())


def test_a_missing_package_says_what_to_install():
    with pytest.raises(Unavailable, match=r"pip install 'bandit-router\[peers\]'"):
        imported("no_package_of_this_name.at_all")


# What scalar rivals see.


def test_the_reward_of_a_scalar_rival_is_the_utility_the_request_asked_for():
    view = ScalarView(contexts_for(a_table()), NORMALISER, ())
    arrival = Arrival(decision_id(0, 0), 0, 1, quality=0.8, cost_usd=1e-4, latency_ms=None)
    wanted = Preference(quality=0.6, cost=0.4)

    reward = view.reward(arrival, wanted)

    # ln 1e-4 is half way from ln 1e-6 to ln 1e-2.
    assert reward == pytest.approx(0.6 * 0.8 - 0.4 * 0.5)


def test_an_outcome_without_a_part_of_its_utility_gives_no_reward():
    view = ScalarView(contexts_for(a_table()), NORMALISER, ())
    arrival = Arrival(decision_id(0, 0), 0, 1, quality=None, cost_usd=1e-4, latency_ms=None)

    assert view.reward(arrival, Preference(quality=1)) is None
    assert view.reward(arrival, Preference(cost=0.5, latency=0.5)) is None
    assert view.reward(arrival, Preference(cost=1)) == pytest.approx(-0.5)


def test_weights_that_vary_are_further_features():
    contexts = contexts_for(a_table())
    cost, latency = Objective.COST, Objective.LATENCY
    pair = (Preference(0.8, 0.2), Preference(0.4, 0.6))

    assert varying_weights(pair[:1]) == ()
    assert varying_weights(pair) == varying_weights("random") == (cost,)
    assert varying_weights("random3") == (cost, latency)
    view = ScalarView(contexts, NORMALISER, varying_weights(pair))
    (ask,) = asks(5, tradeoff=pair[1])
    assert_allclose(view.context(ask), [*contexts[5], 0.6])
    assert view.features == len(view.context(ask))


# River.


@with_river
def test_river_draws_among_untried_arms_and_says_so():
    table = a_table()
    (ask,) = asks(0)

    first = [a_peer("river-linucb", table, seed=seed).choose([ask])[0] for seed in range(300)]

    assert_allclose([choice.propensity for choice in first], 1 / 3)
    frequencies = np.bincount([choice.arm for choice in first], minlength=3) / 300
    assert_allclose(frequencies, 1 / 3, atol=4 * np.sqrt(2 / 9 / 300))


@with_river
def test_river_is_certain_once_every_arm_was_tried():
    table = a_table(100)

    played = play(table, a_stream(table), a_peer("river-linucb", table))

    tried_all = max(np.flatnonzero(played.arms == arm)[0] for arm in range(3))
    assert (played.propensities[tried_all + 1 :] == 1).all()


# MABWiser.


@with_mabwiser
def test_the_propensities_of_mabwiser_match_how_often_it_chooses():
    """Each is a frequency over 100 draws of which the first is the choice: high by at most 1%."""
    table = a_table(40, quality=(0.2, 0.5, 0.6))
    peer = a_peer("mabwiser-lints", table)
    play(table, a_stream(table), peer)

    choices = peer.choose(asks(*[0] * 1000, first=1000))

    arms = np.array([choice.arm for choice in choices])
    propensities = np.array([choice.propensity for choice in choices])
    assert len(set(arms)) == 3
    for arm in range(3):
        frequency, said = (arms == arm).mean(), propensities[arms == arm].mean()
        assert said == pytest.approx(
            frequency, abs=0.01 + 4 * np.sqrt(frequency * (1 - frequency) / 1000)
        )


@with_mabwiser
def test_the_fit_that_mabwiser_needs_first_teaches_it_nothing():
    """LinUCB at its prior (mean 0, precision 1) has the bound |x| for every arm."""
    table = a_table()
    contexts = contexts_for(table)
    peer = a_peer("mabwiser-linucb", table, contexts=contexts)

    bounds = peer._bandit.predict_expectations(contexts[:1].astype(np.float64))

    assert_allclose(list(bounds.values()), np.linalg.norm(contexts[0]))


# ParetoBandit.


@with_pareto_bandit
def test_the_pacer_of_pareto_bandit_keeps_a_budget():
    """The good arm costs five times the budget; the cheap one is worth .5."""
    table = a_table(1500, quality=(0.5, 0.0, 0.9))
    budget_usd = 2e-4

    def spent_and_quality(budget):
        peer = a_peer("paretobandit", table, budget=budget)
        arms = play(table, a_stream(table), peer).arms[500:]
        return table.cost_usd[0, arms].mean(), table.quality[0, arms].mean()

    free_usd, _ = spent_and_quality(None)
    paced_usd, paced_quality = spent_and_quality(Budget(target_usd=budget_usd))

    assert free_usd > 4 * budget_usd
    assert paced_usd == pytest.approx(budget_usd, rel=0.1)
    assert paced_quality > 0.5


@with_pareto_bandit
def test_pareto_bandit_spends_less_for_who_weighs_cost():
    table = a_table(300, quality=(0.7, 0.0, 0.9))
    thrifty = (Preference(quality=0.5, cost=0.5),)

    def spent(tradeoffs):
        peer = a_peer("paretobandit", table, tradeoffs=tradeoffs)
        arms = play(table, a_stream(table, tradeoffs=tradeoffs), peer).arms[150:]
        return table.cost_usd[0, arms].mean()

    assert spent(thrifty) < spent(QUALITY_ALONE) / 2


@with_pareto_bandit
def test_a_factor_in_price_weighs_the_same_in_pareto_bandit_as_in_the_policy():
    """Ten times the price costs w_c / w_q ln 10 / span of quality in both."""
    table = a_table()
    wanted = Preference(quality=0.7, cost=0.3)
    peer = a_peer("paretobandit", table)
    peer.choose(asks(0, tradeoff=wanted))

    router = peer._router
    theirs = router.cost_penalty * (
        router._get_normalized_cost("dear") - router._get_normalized_cost("middle")
    )

    ours = utility_of(np.ones(2), np.array([1e-4, 1e-3]), np.ones(2), wanted, NORMALISER)
    assert theirs == pytest.approx((ours[0] - ours[1]) / wanted.quality)


@with_pareto_bandit
def test_a_told_price_reaches_pareto_bandit():
    peer = a_peer("paretobandit", a_table())

    peer.set_price("dear", PRICES["cheap"])

    assert peer._router._get_normalized_cost("dear") == peer._router._get_normalized_cost("cheap")
