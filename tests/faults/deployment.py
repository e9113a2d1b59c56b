"""Two routers and two learners on one Postgres, and hands that do them harm."""

import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg

from bandit.client import RouterClient
from bandit.client.errors import RouterError
from bandit.client.results import Arm
from bandit.domain.objective import Objective
from bandit.domain.policy import ContextSettings, ContextSource, PolicySettings
from bandit.domain.price import Price
from services.settings import Settings
from services.supervisor import ChildProcess, Stack
from tests.faults.load import FEATURES, Load
from tests.faults.proxy import Proxy, proxied
from tests.faults.schedule import Fault
from tests.faults.trouble import persistently, scalar, trouble
from tests.service.calls import eventually, is_process

PATIENCE_S = 60.0
_CONTEXT = ContextSettings(source=ContextSource.VECTOR, vector_length=FEATURES)
POLICIES = {
    "plain": PolicySettings(context=_CONTEXT),
    "forgetful": PolicySettings(context=_CONTEXT, half_life_hours={Objective.QUALITY: 0.01}),
}


class Deployment:
    """
    A service at work.

    targets        of the routers
    database_url   straight to Postgres, past any proxy
    """

    def __init__(self, targets: Sequence[str], database_url: str) -> None:
        self.targets = targets
        self.database_url = database_url
        with RouterClient(targets[0], timeout_s=20.0) as client:
            for name, settings in POLICIES.items():
                price = Price(1.0, 4.0)
                arms = [Arm(name=arm, price=price) for arm in ("small", "large")]
                client.create_policy(name, settings=settings, arms=arms)

    def calm(self) -> None:
        """Return when every router answers for every policy, and all that was sent is learned."""
        for target in self.targets:
            eventually(lambda target=target: _answers(target), bool, within_s=PATIENCE_S)
        eventually(self._waiting, lambda waiting: waiting == 0, within_s=PATIENCE_S)
        for target in self.targets:
            eventually(lambda target=target: _serves_news(target), bool, within_s=PATIENCE_S)

    def _waiting(self) -> int:
        return persistently(lambda: scalar(self.database_url, "select count(*) from dirty_key"))


class Supervised(Deployment):
    """Two stacks on the first one's Postgres; each starts again what dies."""

    def __init__(self, first: Stack, other: Stack) -> None:
        self._stacks = {"": first, "other": other}
        super().__init__([first.target, other.target], first.database_url)

    @classmethod
    @contextmanager
    def start(cls) -> Iterator["Supervised"]:
        """Running processes, ended with the block."""
        settings = Settings.load(port=0, log_level="error", grace_s=1.0)
        with ExitStack() as stack:
            first = stack.enter_context(Stack.start(settings))
            shared = Settings.load(
                port=0, log_level="error", grace_s=1.0, database_url=first.database_url
            )
            yield cls(first, stack.enter_context(Stack.start(shared)))

    def suffer(self, fault: Fault, load: Load) -> None:
        """Carry out one fault, to its end; who has died comes back by itself."""
        if fault.kind.endswith(("router", "learner")):
            self._kill_child(fault.kind, load)
        elif fault.kind in ("postmaster", "immediate shutdown"):
            pid = persistently(lambda: _parent_of(self._backends()[-1]))
            os.kill(pid, signal.SIGKILL if fault.kind == "postmaster" else signal.SIGQUIT)
        elif fault.kind == "backend":
            backends = persistently(self._others)
            os.kill(backends[int(fault.choice * len(backends))], signal.SIGKILL)
        else:
            trouble(self.database_url, fault)

    def calm(self) -> None:
        """The same, with every process back."""
        for stack in self._stacks.values():
            for name in ("router", "learner"):
                eventually(
                    lambda stack=stack, name=name: _running(stack, name), bool, within_s=PATIENCE_S
                )
        super().calm()

    def _kill_child(self, kind: str, load: Load) -> None:
        which, _, name = kind.rpartition(" ")
        stack = self._stacks[which]
        pid = eventually(lambda: _running(stack, name), bool, within_s=PATIENCE_S)
        if name == "router":
            load.told.died(stack.target, time.monotonic())
        os.kill(pid, signal.SIGKILL)

    def _backends(self) -> list[int]:
        """The sessions' processes; the last one is that of the question."""
        with psycopg.connect(self.database_url, connect_timeout=2) as connection:
            rows = connection.execute(
                "select pid from pg_stat_activity where backend_type = 'client backend'"
                " order by pid = pg_backend_pid(), pid"
            ).fetchall()
        return [pid for (pid,) in rows]

    def _others(self) -> list[int]:
        others = self._backends()[:-1]
        if not others:
            raise psycopg.OperationalError("nobody is connected yet")
        return others


class Connected(Deployment):
    """Processes without a supervisor, that reach Postgres through a proxy and must not die."""

    def __init__(
        self, children: dict[str, ChildProcess], database_url: str, proxy: Proxy | None
    ) -> None:
        self._proxy = proxy
        self._children = children
        ports = [
            child.readiness(within_s=PATIENCE_S)["port"]
            for name, child in children.items()
            if name.endswith("router")
        ]
        super().__init__([f"127.0.0.1:{port}" for port in ports], database_url)

    @classmethod
    @contextmanager
    def start(
        cls,
        database_url: str,
        *,
        proxy: Proxy | None = None,
        names: Sequence[str] = ("router", "learner", "other router", "other learner"),
    ) -> Iterator["Connected"]:
        """Running processes, ended with the block."""
        children = {}
        url = database_url if proxy is None else proxied(database_url, proxy)
        orders = {"port": 0, "log_level": "error", "grace_s": 1.0, "database_url": url}
        with ExitStack() as stack:
            for name in names:
                child = children[name] = ChildProcess(name.removeprefix("other "))
                stack.callback(child.stop, within_s=10.0)
                child.order(json.dumps(orders).encode())
            yield cls(children, database_url, proxy)

    def suffer(self, fault: Fault, load: Load) -> None:
        """Cut the network for a while, or hurt the database."""
        assert self._proxy is not None
        if fault.kind in ("refuse", "stall", "reset"):
            self._proxy.mode = fault.kind  # type: ignore[assignment]
            time.sleep(fault.lasts_s)
            self._proxy.mode = "pass"
        elif fault.kind == "delay":
            self._proxy.delay_s = 0.1 * fault.choice
            time.sleep(fault.lasts_s)
            self._proxy.delay_s = 0.0
        else:
            trouble(self.database_url, fault)

    def dead(self) -> list[str]:
        """The names of the processes that are no more."""
        return [name for name, child in self._children.items() if not child.is_running()]


def _answers(target: str) -> bool:
    """Whether a router decides and records for every policy."""
    with RouterClient(target, timeout_s=5.0) as client:
        try:
            return all(client.select(name, vector=[0.0] * FEATURES).is_durable for name in POLICIES)
        except RouterError:
            return False


def _serves_news(target: str) -> bool:
    """Whether a router serves all that was learned."""
    with RouterClient(target, timeout_s=5.0) as client:
        states = [client.state(name) for name in POLICIES]
    return all(state.snapshot_version == state.learned_version for state in states)


def _running(stack: Stack, name: str) -> int:
    """The process of that name; 0: it is not there at the moment."""
    pid = stack.pids()[name]
    return pid if is_process(pid) else 0


def _parent_of(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])
