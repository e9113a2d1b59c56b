"""
Every metric that the service tells, with its unit and labels.

Names follow Prometheus: seconds, ratios, `_total` for what only grows.  Nothing here needs its
library, which is imported where metrics are asked for and nowhere else.
"""

from dataclasses import dataclass
from enum import Enum

PREFIX = "bandit_router_"
LOW_PROPENSITY = 0.05

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


class Kind(Enum):
    """How a metric behaves."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Merged(Enum):
    """What a gauge of several processes is, in the words of the Prometheus library; living ones."""

    SUM = "livesum"
    GREATEST = "livemax"
    NEWEST = "livemostrecent"


@dataclass(frozen=True, slots=True)
class Metric:
    """
    One metric.

    name     without the prefix
    merged   of a gauge
    buckets  upper ends, of a histogram
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    merged: Merged = Merged.SUM
    buckets: tuple[float, ...] = ()

    @property
    def full_name(self) -> str:
        """As Prometheus shows it, without what it adds for the parts of a histogram."""
        return PREFIX + self.name


def _counter(name: str, help_: str, *labels: str) -> Metric:
    return Metric(name, Kind.COUNTER, help_, labels)


def _gauge(name: str, help_: str, *labels: str, merged: Merged = Merged.SUM) -> Metric:
    return Metric(name, Kind.GAUGE, help_, labels, merged)


def _histogram(
    name: str, help_: str, *labels: str, buckets: tuple[float, ...] = _SECONDS
) -> Metric:
    return Metric(name, Kind.HISTOGRAM, help_, labels, buckets=buckets)


# Calls

CALLS = _counter("calls_total", "Calls that ended, streams too.", "method", "code")
ERRORS = _counter(
    "errors_total", "Calls that ended with an error, by its reason.", "method", "reason"
)
CALL_SECONDS = _histogram(
    "call_duration_seconds", "From a call's arrival to its end; without streams.", "method"
)
CALLS_UNDER_WAY = _gauge("calls_under_way", "Calls being answered; without streams.")
CALLS_LIMIT = _gauge("calls_limit", "Calls that may be under way (`max_calls` of every router).")
READY = _gauge("ready", "Router processes that are ready.")

# Decisions and outcomes

DECISIONS = _counter(
    "decisions_total",
    "New decisions; durable false: not confirmed to be stored when their caller was answered.",
    "policy",
    "arm",
    "durable",
)
LOW_PROPENSITIES = _counter(
    "low_propensity_decisions_total",
    f"New decisions whose arm had a propensity under {LOW_PROPENSITY:g}.",
    "policy",
)
OUTCOMES = _counter(
    "outcomes_total",
    "Reported values, by what their caller was told; without trial runs.",
    "policy",
    "objective",
    "disposition",
)

# Storing

BACKLOG = _gauge("backlog_decisions", "Decisions not known to be stored, being written included.")
BACKLOG_AGE = _gauge(
    "backlog_age_seconds", "Age of the oldest of them; 0: there is none.", merged=Merged.GREATEST
)
UNCONFIRMED = _gauge(
    "backlog_unconfirmed_decisions", "Of them, those whose caller was answered already."
)
FATES = _counter(
    "unconfirmed_decisions_total",
    "Decisions answered before they were stored, and what became of them: answered, then stored,"
    " conflict, dropped or refused.",
    "fate",
)
AWAY = _gauge(
    "database_away",
    "1 while decisions are answered from memory, since none is confirmed.",
    merged=Merged.GREATEST,
)
COMMIT_SECONDS = _histogram(
    "commit_duration_seconds", "Commits of decisions and of outcomes, waiting included.", "log"
)
COMMIT_ROWS = _histogram(
    "commit_decisions", "Decisions that were committed together.", buckets=_ROWS
)
CONNECTIONS = _gauge("database_connections_in_use", "Connections in use, of the pool of a process.")
CONNECTIONS_LIMIT = _gauge("database_connections_limit", "Connections that the pools may have.")

# What is served

SNAPSHOT_AGE = _gauge(
    "snapshot_age_seconds",
    "Since what is served was last found to be what the database holds.",
    "policy",
    merged=Merged.GREATEST,
)
SNAPSHOT_LAG = _gauge(
    "snapshot_lag_versions",
    "Learned versions that are known of and not served yet.",
    "policy",
    merged=Merged.GREATEST,
)
BUDGET_PRICE = _gauge(
    "budget_price", "Price of budget, utility per USD.", "policy", merged=Merged.NEWEST
)
BUDGET_UTILISATION = _gauge(
    "budget_utilisation_ratio",
    "Mean spending over the target of a budget that has one.",
    "policy",
    merged=Merged.NEWEST,
)

# Learning

FOLDED = _counter("folded_outcomes_total", "Entries taken off the line of a policy.", "policy")
FOLD_SECONDS = _histogram("fold_duration_seconds", "One micro-batch, commit included.")
PENDING = _gauge(
    "pending_outcomes",
    "Entries that are due to be learned; at most 1,000,000 are counted.",
    "policy",
    merged=Merged.GREATEST,
)
PENDING_AGE = _gauge(
    "pending_age_seconds",
    "How long the oldest of them has been due; 0: there is none.",
    "policy",
    merged=Merged.GREATEST,
)
ALARMS = _counter("alarms_total", "Alarms that an arm has changed.", "policy", "arm", "objective")
QUARANTINED = _gauge(
    "quarantined", "What of the log cannot be learned.", "policy", merged=Merged.GREATEST
)

# Processes

BUILD = _gauge("build_info", "1, for the version.", "version", "python", merged=Merged.GREATEST)
PROCESS_UP = _gauge("process_up", "1 while the process runs; told by the supervisor.", "process")
RESTARTS = _counter(
    "process_restarts_total", "Times that it was started again after it died.", "process"
)

ALL: tuple[Metric, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Metric)
)
