"""What a router serves on when only a part of what it reads can be used; on the store in memory."""

from dataclasses import replace

import numpy as np
from numpy.testing import assert_array_equal

from bandit.domain.objective import Objective
from bandit.domain.policy import Policy
from bandit.domain.price import PriceVersion
from bandit.features.schema import schema_of
from bandit.learning.sums import Evidence, Sums, folded, no_outcomes
from bandit.routing.ports import Cell, StoredSums
from bandit.store.memory import MemoryStore
from services.router.snapshots import ServedSnapshots
from tests.builders import A_PRICE, NOW, a_policy, an_arm, an_event

QUALITY, COST = Objective.QUALITY, Objective.COST


def sums_of(policy: Policy, *, target: float) -> Sums:
    """The sums after a hundred outcomes at the context that is nothing but the bias."""
    features = schema_of(policy.settings.context).features
    context = np.zeros(features, np.float32)
    context[-1] = 1.0
    (sums,) = folded([no_outcomes(features, epoch=NOW)], [Evidence(0, context, target, 1.0)] * 100)
    return sums


def write(store: MemoryStore, policy: Policy, cells: dict[Cell, StoredSums]) -> None:
    with store.begin(policy.id) as fold:
        assert fold is not None
        fold.write(schema_id=schema_of(policy.settings.context).id, sums=cells, contributions={})
        fold.advance()


async def test_an_arms_first_price_leaves_another_arms_corrupt_cell_its_last_good_posterior() -> (
    None
):
    unpriced, corrupt = an_arm("unpriced", price=None), an_arm("corrupt")
    policy, store = a_policy(arms=[unpriced, corrupt]), MemoryStore()
    store.create(policy, an_event())
    bad, repriced = (corrupt.id, QUALITY), (unpriced.id, COST)
    write(
        store,
        policy,
        {
            bad: StoredSums(1, 100, sums_of(policy, target=-0.5)),
            repriced: StoredSums(1, 100, sums_of(policy, target=1.5)),
        },
    )
    snapshots = ServedSnapshots(store, store, clock=lambda: NOW, poll_interval_s=3600.0)
    await snapshots.refresh()
    good = snapshots.get(policy.name)
    write(store, policy, {bad: StoredSums(2, 101, None, "flipped")})
    await snapshots.refresh()

    priced = replace(unpriced, prices=(PriceVersion(NOW, A_PRICE),))
    store.replace(replace(policy, version=2, arms=(priced, corrupt)), an_event())
    await snapshots.refresh()

    served = snapshots.get(policy.name)
    assert served.policy.version == 2
    assert served.cells[bad].fault == "flipped"
    assert_array_equal(served.means[1, QUALITY], good.means[1, QUALITY])
    assert_array_equal(served.covariances[1], good.covariances[1])
    # What was learned of the arm with the price is read again, and met by the other prior.
    assert served.cells[repriced].is_priced
    assert served.cells[repriced].observations == 100
    assert (served.means[0, COST] != good.means[0, COST]).any()
    assert_array_equal(served.means[0, COST], served.cells[repriced].posterior.mean)
