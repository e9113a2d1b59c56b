"""The definitions as instruments of the Prometheus library; importing this imports it."""

import os
import platform
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Generic, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    values,
)
from prometheus_client.metrics import MetricWrapperBase

from services.telemetry import definitions
from services.telemetry.definitions import Metric
from services.telemetry.sharing import place

_Child = TypeVar("_Child", bound=MetricWrapperBase)


class Labelled(dict[tuple[str, ...], _Child], Generic[_Child]):
    """The parts of an instrument by their labels: the library looks for them under a lock."""

    def __init__(self, instrument: _Child) -> None:
        super().__init__()
        self._instrument = instrument

    def __missing__(self, labels: tuple[str, ...]) -> _Child:
        child = self[labels] = self._instrument.labels(*labels)
        return child


class GroupedHistogram(Histogram):
    """A histogram that takes many values at once: each write costs a microsecond or three."""

    def observe_all(self, amounts: Sequence[float]) -> None:
        """`observe` for each of them."""
        ends = self._upper_bounds
        for bucket, count in Tally(bisect_left(ends, amount) for amount in amounts).items():
            self._buckets[bucket].inc(count)
        self._sum.inc(sum(amounts))


class Instruments:
    """
    Makes the instruments of this process.

    registry   what an endpoint of this process itself shows
    """

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        shared = place()
        if shared is None:
            values.ValueClass = values.MutexValue
        else:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(shared.parent)
            shared_value: Any = values.MultiProcessValue
            values.ValueClass = shared_value(process_identifier=lambda: shared.name)
        self.registry = CollectorRegistry()
        self.gauge(definitions.BUILD).labels(_version(), platform.python_version()).set(1)

    def counter(self, metric: Metric) -> Counter:
        """A counter by its definition."""
        return Counter(metric.full_name, metric.help, metric.labels, registry=self.registry)

    def gauge(self, metric: Metric) -> Gauge:
        """A gauge by its definition."""
        return Gauge(
            metric.full_name,
            metric.help,
            metric.labels,
            registry=self.registry,
            multiprocess_mode=metric.merged.value,
        )

    def histogram(self, metric: Metric) -> GroupedHistogram:
        """A histogram by its definition."""
        return GroupedHistogram(
            metric.full_name,
            metric.help,
            metric.labels,
            registry=self.registry,
            buckets=metric.buckets,
        )


class PerPolicy:
    """A gauge per policy; 0 for policies that are gone, as what was told cannot be taken back."""

    def __init__(self, gauge: Gauge) -> None:
        self._parts = Labelled(gauge)

    def tell(self, told: dict[str, float]) -> None:
        """The values of all policies."""
        for (policy,), part in self._parts.items():
            if policy not in told:
                part.set(0)
        for policy, value in told.items():
            self._parts[policy,].set(value)


def _version() -> str:
    try:
        return version("bandit-router")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"
