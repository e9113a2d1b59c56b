"""Several routers on one port, as `serve --workers` starts them."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from bandit.wire import catalog_pb2 as c
from services.settings import Settings
from services.supervisor import Stack, StackStartFailed
from tests.service.calls import Calls, eventually, is_process

WORKERS = 2


@pytest.fixture(scope="module")
def together(stack: Stack) -> Iterator[Stack]:
    settings = Settings.load(
        port=0, workers=WORKERS, log_level="error", database_url=stack.database_url, grace_s=2.0
    )
    with Stack.start(settings, routers_only=True) as started:
        yield started


def a_channel(target: str) -> grpc.Channel:
    """A connection of its own, which the kernel gives to one of those who listen."""
    return grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)])


def pids_reached(target: str, *, within: int = 40) -> set[int]:
    """The processes at the other ends of so many connections."""
    host, port = target.split(":")
    reached = set()
    connections = [socket.create_connection((host, int(port))) for _ in range(within)]
    try:
        inodes = {}
        # A server of gRPC's takes IPv4 on an IPv6 socket.
        tables = [Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6")]
        for line in "".join(tables).splitlines():
            fields = line.split()
            if not fields[0].endswith(":"):
                continue  # the heading
            local, remote = (int(field.split(":")[1], 16) for field in fields[1:3])
            if local == int(port):
                inodes[remote] = fields[9]
        wanted = {inodes.get(each.getsockname()[1]) for each in connections}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                links = [
                    os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")
                ]
            except OSError:
                continue
            if any(link == f"socket:[{inode}]" for link in links for inode in wanted):
                reached.add(int(pid))
    finally:
        for each in connections:
            each.close()
    return reached


def routers(stack: Stack) -> set[int]:
    return {pid for name, pid in stack.pids().items() if name.startswith("router")}


def test_all_of_them_take_calls_on_one_port(together: Stack) -> None:
    assert len(routers(together)) == WORKERS
    eventually(lambda: pids_reached(together.target), routers(together).issubset)


def test_what_is_changed_at_one_is_served_by_all_within_a_second(together: Stack) -> None:
    channels = [a_channel(together.target) for _ in range(12)]
    try:
        several = [Calls(channel) for channel in channels]
        settings = c.PolicySettings(context=c.ContextSettings(vector=c.VectorContext(length=3)))
        several[0].catalog.CreatePolicy(
            c.CreatePolicyRequest(name="shared", settings=settings, arms=[c.Arm(name="a")])
        )
        for calls in several:
            calls.select("shared")
        several[0].catalog.AddArm(c.AddArmRequest(policy="shared", arm=c.Arm(name="b")))
        time.sleep(1.0)

        assert {calls.select("shared").policy_version for calls in several} == {2}
    finally:
        for channel in channels:
            channel.close()


def test_one_that_dies_is_started_again_and_the_other_goes_on(together: Stack) -> None:
    before = routers(together)
    victim = min(before)

    os.kill(victim, signal.SIGKILL)

    eventually(
        lambda: pids_reached(together.target) & routers(together),
        lambda found: len(found) == WORKERS and victim not in found,
        within_s=20.0,
    )
    assert len(routers(together) & before) == WORKERS - 1


def test_a_port_that_is_in_use_is_not_shared_with_a_stranger(stack: Stack, together: Stack) -> None:
    port = int(together.target.rpartition(":")[2])
    settings = Settings.load(
        port=port, workers=2, log_level="error", database_url=stack.database_url
    )

    told = pytest.raises(StackStartFailed, match=f"cannot listen on .*:{port}")
    with told, Stack.start(settings, routers_only=True):
        pass


def test_the_end_is_waited_for_by_all_at_once(stack: Stack) -> None:
    settings = Settings.load(
        port=0, workers=WORKERS, log_level="error", database_url=stack.database_url, grace_s=2.0
    )
    with Stack.start(settings, routers_only=True) as started:
        pids = routers(started)
        began = time.monotonic()

    assert time.monotonic() - began < 2 * settings.grace_s
    assert not any(is_process(pid) for pid in pids)
