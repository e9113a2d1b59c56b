"""Any number of learners on one policy, at the same time, learn what one would."""

import asyncio
import random
import threading
from collections.abc import Iterator

import pytest

from bandit.domain.errors import Conflict, Unavailable
from tests.faults.populated import Populated, outcomes_of, populated

LEARNERS = 4
WAVES = 12


@pytest.fixture
def world(new_database, template) -> Iterator[Populated]:
    with new_database(template) as url, populated(url) as made:
        yield made


async def test_learners_at_once_fold_every_outcome_once(world: Populated) -> None:
    """
    Small micro-batches while corrected outcomes arrive, so that two learners often meet.

    Without the policy's lock the posteriors' versions still keep them apart.
    """
    draw = random.Random(5)
    decisions = await world.decide(150, draw)
    stopping = threading.Event()
    errors: list[BaseException] = []

    def learn(seed: int) -> None:
        limits = random.Random(seed)
        while not stopping.is_set():
            try:
                world.fold(limit=limits.randint(5, 120))
            except (Conflict, Unavailable):
                continue  # another learner was first, or in the way
            except BaseException as error:
                errors.append(error)
                return

    learners = [threading.Thread(target=learn, args=[seed]) for seed in range(LEARNERS)]
    for learner in learners:
        learner.start()
    try:
        for wave in range(WAVES):
            some = draw.sample(decisions, 60)
            await world.report(outcomes_of(some, draw, sequence=wave))
            await asyncio.sleep(0.05)
    finally:
        stopping.set()
        for learner in learners:
            learner.join()
    world.fold_all()

    assert errors == []
    assert world.checked().findings == []
