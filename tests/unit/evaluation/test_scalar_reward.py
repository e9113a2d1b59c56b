import numpy as np
import pytest

from bandit.domain.policy import ContextSettings, ContextSource, PolicySettings, Range
from bandit.domain.preference import Preference
from bandit.domain.price import Price
from bandit.evaluation.replay import Arrival, Ask, play
from bandit.evaluation.scalar_reward import ScalarReward
from bandit.evaluation.stream import StreamSettings, decision_id, stream_of
from bandit.evaluation.table import OutcomeTable
from bandit.kernels.propensity import thompson
from bandit.policies.utility import Normaliser, utility_of

SETTINGS = PolicySettings(
    context=ContextSettings(source=ContextSource.NONE), cost_range=Range(1e-5, 1e-1)
)
NORMALISER = Normaliser(SETTINGS.cost_range, SETTINGS.latency_range_ms)
HALF = Preference(quality=0.5, cost=0.5)
PRICES = {"a": Price(1.0), "b": Price(10.0)}
TOKENS = 100


def a_table(queries, qualities):
    quality = np.tile(qualities, (queries, 1)).astype(float)
    return OutcomeTable(
        query_ids=tuple(f"q{row}" for row in range(queries)),
        texts=("",) * queries,
        models=("a", "b"),
        quality=quality,
        cost_usd=np.tile([PRICES[m].list_usd(TOKENS) for m in "ab"], (queries, 1)),
        latency_ms=None,
        request_tokens=np.full(queries, TOKENS),
    )


def a_router(table, **changes):
    contexts = np.ones((len(table), 1), dtype=np.float32)
    return ScalarReward(table, contexts, SETTINGS, PRICES, seed=0, **changes)


def listed_utility(quality):
    costs = np.array([PRICES[m].list_usd(TOKENS) for m in "ab"])
    return utility_of(np.full(2, quality), costs, np.ones(2), HALF, NORMALISER)


def test_before_any_outcome_it_chooses_by_list_price_and_the_width_of_its_prior():
    """Context (w_c, 1) = (.5, 1), precisions 1 and 5: variance .09 (.25 / 1 + 1 / 5)."""
    (choice,) = a_router(a_table(1, [0.9, 0.9])).choose([Ask(decision_id(0, 0), 0, HALF)])

    deviation = np.full(2, SETTINGS.temperature * np.sqrt(0.09 * (0.25 + 0.2)))
    expected = thompson(listed_utility(SETTINGS.quality_prior_mean), deviation)
    assert choice.propensity == pytest.approx(expected[choice.arm])


def test_it_learns_the_arm_with_the_higher_utility():
    """Arm a costs a tenth of b: with like qualities it is worth .5 ln 10 / ln 10^4 = .125 more."""
    table = a_table(400, [0.6, 0.6])
    stream = stream_of(len(table), StreamSettings(tradeoffs=(HALF,)), seed=1)

    played = play(table, stream, a_router(table))

    assert (played.arms[200:] == 0).mean() > 0.9


def test_an_outcome_without_a_quality_teaches_it_nothing():
    router = a_router(a_table(2, [0.6, 0.6]))
    (before,) = router.choose([Ask(decision_id(0, 0), 0, HALF)])

    router.report([Arrival(decision_id(0, 0), 0, before.arm, None, 1e-3, None)])

    (after,) = router.choose([Ask(decision_id(0, 0), 0, HALF)])
    assert (after.arm, after.propensity) == (before.arm, before.propensity)


def test_an_arm_that_is_not_there_is_never_chosen():
    router = a_router(a_table(1, [0.6, 0.6]), models=["b"])

    def chosen():
        (choice,) = router.choose([Ask(decision_id(0, 0), 0, HALF)])
        return choice.arm, choice.propensity

    assert chosen() == (1, 1.0)
    router.add_arm("a", Price(0.001))
    router.remove_arm("b")
    assert chosen() == (0, 1.0)
