"""How a process tells what happens: one line per event, on standard error."""

import logging
import sys

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from services.settings import Settings


def configure(settings: Settings, *, process: str) -> None:
    """Log in the format and from the level of the settings; libraries' own logs included."""
    level = logging.getLevelName(settings.log_level.upper())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _named(process),
    ]
    final: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if settings.log_format == "json"
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                exception_formatter=structlog.dev.plain_traceback,
                pad_event_to=0,
            )
        ]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    # gRPC tells, each time and with a stack, what callers do wrong; what we do, we tell ourselves.
    logging.getLogger("grpc").setLevel(logging.CRITICAL)
    # Libraries warn; what this project says has its own level.
    logging.getLogger("services").setLevel(level)


def logger(name: str) -> FilteringBoundLogger:
    """The logger of a module."""
    made: FilteringBoundLogger = structlog.get_logger(name)
    return made


class Outage:
    """Tells of a trouble when it begins and when it is over, and not in between."""

    def __init__(self, log: FilteringBoundLogger, what: str) -> None:
        self._log = log
        self._what = what
        self._told = ""

    def began(self, error: BaseException, *, with_stack: bool = False) -> None:
        """The trouble is there (still); another kind of error is told anew."""
        kind = type(error).__name__
        if self._told != kind:
            self._told = kind
            self._log.error(f"{self._what} fails", error=str(error), exc_info=with_stack and error)

    def ended(self, **facts: object) -> None:
        """All is well (again); `facts` tell what came of it."""
        if self._told:
            self._told = ""
            self._log.info(f"{self._what} works again", **facts)


def _named(process: str) -> Processor:
    def processor(
        _logger: object, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event["process"] = process
        return event

    return processor
