"""The learner's process: its life from the first look at the database to the last micro-batch."""

import signal
from collections.abc import Callable
from threading import Event

from services.learner.compose import composed
from services.logs import logger
from services.settings import Settings

_log = logger(__name__)


def learn(settings: Settings, *, tell_ready: Callable[[], None] | None = None) -> None:
    """
    Learn until SIGTERM or SIGINT; the micro-batch at hand is finished.

    tell_ready   called once the database was there and read
    """
    stopping = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())

    def ready() -> None:
        _log.info("learning")
        if tell_ready is not None:
            tell_ready()

    with composed(settings) as learner:
        learner.run(stopping, tell_ready=ready)
    _log.info("stopped")
