"""Where Prometheus fetches the metrics: over HTTP, from one address for all processes."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.logs import logger
from services.settings import Settings
from services.telemetry import definitions
from services.telemetry.sharing import SharedFolder, place

if TYPE_CHECKING:
    from threading import Thread
    from wsgiref.simple_server import WSGIServer

    from prometheus_client import CollectorRegistry, Metric

_log = logger(__name__)


class CannotTellMetrics(Exception):
    """The address of the metrics cannot be bound."""

    def __init__(self, host: str, port: int, problem: str) -> None:
        super().__init__(f"metrics_port: cannot listen on {host}:{port}: {problem}")


class Endpoint:
    """
    A server of `/metrics`, in threads of its own.

    Raises CannotTellMetrics.
    """

    def __init__(self, settings: Settings, registry: "CollectorRegistry") -> None:
        # Imported here: whoever wants no metrics pays nothing for them.
        from prometheus_client import start_http_server

        host, port = settings.metrics_host, settings.metrics_port or 0
        self._server: WSGIServer
        self._thread: Thread
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            problem = error.strerror or str(error)
            raise CannotTellMetrics(host, port, problem) from None
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._server.server_port}/metrics"
        _log.info("metrics", url=self.url)

    def close(self) -> None:
        """Take no more requests."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def own_endpoint(settings: Settings, registry: "CollectorRegistry") -> Endpoint | None:
    """The endpoint of a process that has no supervisor to tell its metrics."""
    return Endpoint(settings, registry) if place() is None else None


@dataclass(eq=False)
class Processes:
    """
    What the supervisor knows of its processes; implements the library's `Collector`.

    running    by their places
    restarts   likewise
    """

    running: dict[str, bool] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)

    def collect(self) -> Iterable["Metric"]:
        """As the library asks for it."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        up, restarts = definitions.PROCESS_UP, definitions.RESTARTS
        gauge = GaugeMetricFamily(up.full_name, up.help, labels=up.labels)
        for place_, runs in self.running.copy().items():
            gauge.add_metric([place_], float(runs))
        counter = CounterMetricFamily(restarts.full_name, restarts.help, labels=restarts.labels)
        for place_, count in self.restarts.copy().items():
            counter.add_metric([place_], count)
        return [gauge, counter]


class ServiceMetrics:
    """
    The supervisor's part: a folder for the counts of its processes, and one endpoint for all.

    url   of the endpoint, once it listens
    """

    url: str

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = SharedFolder()
        self._processes = Processes()
        self._endpoint: Endpoint | None = None

    def environment(self, place_: str) -> dict[str, str]:
        """What a process in that place has to be told, which now begins."""
        return dict(self._folder.environment(place_))

    def listen(self, places: Sequence[str]) -> None:
        """Tell the metrics of the processes in these places; CannotTellMetrics."""
        from prometheus_client import CollectorRegistry
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(self._folder.path))  # type: ignore[no-untyped-call]
        self._processes.running = dict.fromkeys(places, True)
        self._processes.restarts = dict.fromkeys(places, 0)
        registry.register(self._processes)
        self._endpoint = Endpoint(self._settings, registry)
        self.url = self._endpoint.url

    def died(self, place_: str) -> None:
        """Nobody is in that place: what it last measured is no more, what it counted stays."""
        from prometheus_client.multiprocess import mark_process_dead

        self._processes.running[place_] = False
        with suppress(OSError):  # or they are gone already
            mark_process_dead(place_, path=str(self._folder.path))  # type: ignore[no-untyped-call]

    def started_again(self, place_: str) -> None:
        """Another process is in that place."""
        self._processes.running[place_] = True
        self._processes.restarts[place_] += 1

    def close(self) -> None:
        """End the endpoint, and remove the counts."""
        try:
            if self._endpoint is not None:
                self._endpoint.close()
        finally:
            self._folder.remove()
