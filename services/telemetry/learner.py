"""What a learner tells of itself: nothing, unless its settings ask for it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import Engine

from bandit.domain.policy import Policy
from bandit.routing.learner import Folded
from bandit.routing.ports import Catalog
from services.settings import Settings
from services.telemetry.endpoint import own_endpoint

Told = Callable[[Policy, Folded, float], None]


@contextmanager
def told_of_folds(
    settings: Settings, engine: Engine, catalog: Catalog, *, clock: Callable[[], datetime]
) -> Iterator[Told | None]:
    """
    Who is told of each micro-batch and the seconds that it took; None: nobody.

    Raises CannotTellMetrics.
    """
    if settings.metrics_port is None:
        yield None
        return
    # Imported here: whoever wants no metrics pays nothing for them.
    from bandit.store.postgres.line import lines
    from services.telemetry.instruments import Instruments
    from services.telemetry.learner_metrics import LearnerMetrics

    made = Instruments()
    metrics = LearnerMetrics(
        made,
        lines=lambda now: lines(engine, now=now),
        policies=catalog.list,
        clock=clock,
    )
    endpoint = own_endpoint(settings, made.registry)
    metrics.start()
    try:
        yield metrics.folded
    finally:
        metrics.close()
        if endpoint is not None:
            endpoint.close()
