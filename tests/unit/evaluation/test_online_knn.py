import numpy as np
import pytest
from numpy.testing import assert_allclose

from bandit.domain.policy import PolicySettings, Range
from bandit.domain.preference import Preference
from bandit.domain.price import Price
from bandit.evaluation.online_knn import EPSILON, FEWEST, NEIGHBOURS, OnlineKnn
from bandit.evaluation.replay import Arrival, Ask, play
from bandit.evaluation.stream import StreamSettings, decision_id, stream_of
from bandit.evaluation.table import OutcomeTable

SETTINGS = PolicySettings(cost_range=Range(1e-5, 1e-1))
FOR_QUALITY = Preference(quality=1.0)
PRICE = Price(input_usd_per_million=1.0)  # 1e-4 USD for 100 tokens


def a_table(quality, *, cost_usd=1e-3):
    queries, models = quality.shape
    return OutcomeTable(
        query_ids=tuple(f"q{row}" for row in range(queries)),
        texts=("",) * queries,
        models=tuple("abcdef"[:models]),
        quality=quality,
        cost_usd=np.full(quality.shape, cost_usd),
        latency_ms=None,
        request_tokens=np.full(queries, 100),
    )


def a_world(queries, *, seed=0):
    """Directions in the plane; arm a is right in its upper half, arm b in its lower half."""
    angles = np.random.default_rng(seed).uniform(-np.pi, np.pi, size=queries)
    contexts = np.column_stack([np.cos(angles), np.sin(angles), np.ones(queries)])
    is_up = np.sin(angles) > 0
    return a_table(np.column_stack([is_up, ~is_up]).astype(float)), contexts.astype(np.float32)


def fed(router, contexts, arm, outcomes):
    """Decide each row in turn, and report that `arm` gave these (row, quality, cost)."""
    for number, (row, quality, cost) in enumerate(outcomes):
        ask = Ask(decision_id(arm, number), row, FOR_QUALITY)
        router.choose([ask])
        router.report([Arrival(ask.decision_id, row, arm, quality, cost, None)])


def test_an_arm_is_expected_to_do_as_its_nearest_neighbours_did():
    """Of 40 outcomes the 20 nearest in direction are averaged; length does not matter."""
    rows = 41
    contexts = np.ones((rows, 3), dtype=np.float32)
    contexts[:20, :2], contexts[20:40, :2], contexts[40, :2] = (5, 0), (0, 1), (0.5, 0.1)
    table = a_table(np.zeros((rows, 1)))
    router = OnlineKnn(table, contexts, SETTINGS, {"a": PRICE}, seed=0)
    qualities = np.random.default_rng(1).uniform(size=40)
    fed(router, contexts, 0, [(row, qualities[row], 2e-4) for row in range(40)])

    (choice,) = router.choose([Ask(decision_id(9, 9), 40, FOR_QUALITY)])

    assert NEIGHBOURS == 20
    assert choice.predicted[0] == pytest.approx(qualities[:20].mean())
    assert choice.predicted[1] == pytest.approx(2e-4)
    assert choice.propensity == pytest.approx(1.0)


def test_with_few_outcomes_the_prior_and_the_list_price_stand():
    table, contexts = a_world(30)
    router = OnlineKnn(table, contexts, SETTINGS, {"a": PRICE}, seed=0, models=["a"])
    fed(router, contexts, 0, [(row, 0.1, 7e-4) for row in range(FEWEST - 1)])

    (before,) = router.choose([Ask(decision_id(9, 1), 20, FOR_QUALITY)])
    fed(router, contexts, 0, [(10, 0.1, 7e-4)])
    (after,) = router.choose([Ask(decision_id(9, 2), 20, FOR_QUALITY)])

    assert_allclose(before.predicted[:2], [SETTINGS.quality_prior_mean, PRICE.list_usd(100)])
    assert_allclose(after.predicted[:2], [0.1, 7e-4])


def test_a_quality_that_never_arrives_is_not_counted():
    table, contexts = a_world(30)
    router = OnlineKnn(table, contexts, SETTINGS, {}, seed=0, models=["a"])
    fed(router, contexts, 0, [(row, None if row % 2 else 0.3, 1e-3) for row in range(20)])

    (choice,) = router.choose([Ask(decision_id(9, 1), 25, FOR_QUALITY)])

    assert choice.predicted[0] == pytest.approx(0.3)


def test_a_told_price_scales_what_it_expects():
    table, contexts = a_world(30)
    router = OnlineKnn(table, contexts, SETTINGS, {"a": PRICE}, seed=0, models=["a"])
    fed(router, contexts, 0, [(row, 0.5, 8e-4) for row in range(10)])

    router.set_price("a", Price(input_usd_per_million=0.5))

    (choice,) = router.choose([Ask(decision_id(9, 1), 20, FOR_QUALITY)])
    assert choice.predicted[1] == pytest.approx(4e-4)


def test_it_learns_where_each_arm_is_right_and_its_propensities_are_its_frequencies():
    """A perfect choice but for `EPSILON` gives 1 - EPSILON / 2."""
    table, contexts = a_world(1_500)
    stream = stream_of(1_500, StreamSettings(tradeoffs=(FOR_QUALITY,)), seed=3)

    played = play(table, stream, OnlineKnn(table, contexts, SETTINGS, {}, seed=3))

    late = np.arange(500, 1_500)
    assert table.quality[stream.rows[late], played.arms[late]].mean() > 0.95
    kinds = np.round(played.propensities, 9)
    assert set(np.unique(kinds)) <= {0.5, round(1 - EPSILON / 2, 9), round(EPSILON / 2, 9)}
    explored = (kinds[late] == round(EPSILON / 2, 9)).mean()
    expected = EPSILON / 2
    assert abs(explored - expected) < 5 * np.sqrt(expected * (1 - expected) / 1_000)


def test_an_arm_that_is_not_there_is_never_chosen():
    table, contexts = a_world(200)
    router = OnlineKnn(table, contexts, SETTINGS, {}, seed=0, models=["b"])

    def chosen(first, last):
        asks = [Ask(decision_id(0, row), row, FOR_QUALITY) for row in range(first, last)]
        return {choice.arm for choice in router.choose(asks)}

    assert chosen(0, 50) == {1}
    router.add_arm("a", None)
    assert chosen(50, 100) == {0, 1}
    router.remove_arm("b")
    assert chosen(100, 150) == {0}
