"""One service for all tests here: real gRPC, real Postgres, real processes."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import grpc
import psycopg
import pytest

from bandit.wire import catalog_pb2
from services.settings import Settings
from services.supervisor import Stack
from tests.service.calls import Calls, running_router
from tests.service.refusals import World, a_world

_numbers = count()


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """A running service."""
    with Stack.start(Settings.load(port=0, log_level="error"), durable=False) as started:
        yield started


@pytest.fixture(scope="session")
def calls(stack: Stack) -> Iterator[Calls]:
    """Calls to the running service."""
    with grpc.insecure_channel(stack.target) as channel:
        yield Calls(channel)


@pytest.fixture(scope="session")
def other_target(stack: Stack) -> Iterator[str]:
    """Where a second router listens on the same database, which knows nothing of the first."""
    with running_router(stack.database_url) as port:
        yield f"127.0.0.1:{port}"


@pytest.fixture(scope="session")
def other_worker(other_target: str) -> Iterator[Calls]:
    """Calls to the second router."""
    with grpc.insecure_channel(other_target) as channel:
        yield Calls(channel)


@pytest.fixture(scope="session")
def world(calls: Calls) -> World:
    """What bad requests are sent to."""
    return a_world(calls)


@pytest.fixture
def database(stack: Stack) -> Iterator[psycopg.Connection]:
    """The service's database, from behind."""
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def new_policy(calls: Calls) -> Callable[..., str]:
    """`new_policy()`: the name of a fresh policy with a priced arm "a" and another one "b"."""

    def made(*, arms: tuple[str, ...] = ("a", "b"), **settings: Any) -> str:
        settings.setdefault(
            "context", catalog_pb2.ContextSettings(vector=catalog_pb2.VectorContext(length=3))
        )
        name = f"policy-{next(_numbers)}"
        price = catalog_pb2.Price(input_usd_per_million=1.0, output_usd_per_million=2.0)
        calls.catalog.CreatePolicy(
            catalog_pb2.CreatePolicyRequest(
                name=name,
                settings=catalog_pb2.PolicySettings(**settings),
                arms=[catalog_pb2.Arm(name=arm, price=price) for arm in arms],
            )
        )
        return name

    return made


@pytest.fixture
def policy(new_policy: Callable[..., str]) -> str:
    """The name of a policy of this test alone."""
    return new_policy()
