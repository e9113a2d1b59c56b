"""
A process that attacks a router while it is told to, in one way, at a stated rate.

    python -m tests.faults.hostile KIND PORT POLICY

Reads "on" and "off", a line each; answers each with one line of JSON, what it has done so far.
Standard library only: it starts at once, and takes little of the processors that it shares with
what it attacks.
"""

import gzip
import json
import os
import select
import socket
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache

from tests.faults import http2 as h

TICK_S = 0.02
PER_SECOND = round(1 / TICK_S)
_MOST_OPENED = 10  # connections in a tick, in place of those that were closed
_SMALL_BUFFER = 4_096
_STUCK = 300  # answers: of a stream more than are worked on ahead
_GREETED_WITHIN_S = 10.0
_BOMB_MIB = 60  # which travels as 61 KiB: as much as may be sent on a new connection
_SELECT = b"/bandit.router.v1.Router/Select"
_STREAM = b"/bandit.router.v1.Router/SelectStream"


@dataclass(slots=True)
class Peer:
    """A connection, and the next stream's number on it."""

    socket: socket.socket
    next_stream: int = 1
    state: dict[str, Iterator[bytes]] = field(default_factory=dict)

    def streams(self, count: int) -> Iterator[int]:
        """Numbers for that many new streams."""
        for _ in range(count):
            yield self.next_stream
            self.next_stream += 2


@dataclass(frozen=True, slots=True)
class Attack:
    """
    connections  that are kept open
    hello        what is sent on a new one
    turn         what is sent on one of them, each tick on the next one; None: nothing
    per_tick     connections that have their turn in a tick
    every        ticks, when not in each
    is_read      whether what comes back is read
    settles_s    until what the greeting asks for is done
    units        things that a turn does, for the rate
    """

    connections: int
    hello: bytes = b""
    turn: Callable[[Peer], bytes] | None = None
    per_tick: int = 1
    every: int = 1
    is_read: bool = True
    settles_s: float = 0.0
    units: int = 1

    @property
    def rate(self) -> float:
        """Units per second, all connections together."""
        return 0.0 if self.turn is None else self.per_tick * self.units * PER_SECOND / self.every


class Attacker:
    """Carries out an attack, tick by tick."""

    def __init__(self, attack: Attack, port: int) -> None:
        self._attack = attack
        self._port = port
        self._peers: list[Peer] = []
        self._turn = self._ticks = 0
        self.done = {"units": 0, "bytes": 0, "opened": 0, "closed": 0, "unsent": 0}

    def begin(self) -> None:
        """Open what is to be open, and wait until the other side greets: it does so unasked."""
        self._fill(self._attack.connections)
        end = time.monotonic() + _GREETED_WITHIN_S
        silent = {peer.socket.fileno() for peer in self._peers}
        while silent and time.monotonic() < end:
            poll = select.poll()
            for number in silent:
                poll.register(number, select.POLLIN)
            silent -= {number for number, _ in poll.poll(100)}
            time.sleep(TICK_S)
        time.sleep(self._attack.settles_s)

    def end(self) -> None:
        """Close everything."""
        for peer in self._peers:
            peer.socket.close()
        self._peers.clear()

    @property
    def open_connections(self) -> int:
        """Those that the other side has not closed."""
        return len(self._peers)

    def tick(self) -> None:
        """What is due in a tick."""
        self._ticks += 1
        if self._attack.is_read or self._ticks % PER_SECOND == 0:
            self._read()
        self._fill(_MOST_OPENED)
        if self._attack.turn is None or self._ticks % self._attack.every:
            return
        for _ in range(self._attack.per_tick):
            if not self._peers:
                break
            self._turn += 1
            peer = self._peers[self._turn % len(self._peers)]
            if self._sent(peer, self._attack.turn(peer)):
                self.done["units"] += self._attack.units

    def _fill(self, most: int) -> None:
        for _ in range(min(most, self._attack.connections - len(self._peers))):
            made = socket.socket()
            if not self._attack.is_read:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
            made.settimeout(2.0)
            try:
                made.connect(("127.0.0.1", self._port))
            except OSError:
                made.close()
                return
            made.setblocking(False)
            self.done["opened"] += 1
            peer = Peer(made)
            self._peers.append(peer)
            if self._attack.hello:
                self._sent(peer, self._attack.hello)

    def _sent(self, peer: Peer, data: bytes) -> bool:
        """Whether all was; after a piece of a frame nothing makes sense: the peer is dropped."""
        try:
            sent = peer.socket.send(data)
        except BlockingIOError:
            self.done["unsent"] += 1
            return False
        except OSError:
            self._drop(peer)
            return False
        self.done["bytes"] += sent
        if sent < len(data):
            self.done["unsent"] += 1
            self._drop(peer)
            return False
        return True

    def _read(self) -> None:
        """Read what came; where nothing is to be read, only look who was closed."""
        poll = select.poll()
        by_number = {peer.socket.fileno(): peer for peer in self._peers}
        for number in by_number:
            poll.register(number, select.POLLIN if self._attack.is_read else 0)
        for number, events in poll.poll(0):
            peer = by_number[number]
            if not self._attack.is_read:
                if events & (select.POLLHUP | select.POLLERR):
                    self._drop(peer)
                continue
            try:
                while received := peer.socket.recv(262_144):
                    if len(received) < 262_144:
                        break
                else:
                    self._drop(peer)
            except BlockingIOError:
                pass
            except OSError:
                self._drop(peer)

    def _drop(self, peer: Peer) -> None:
        self.done["closed"] += 1
        peer.socket.close()
        self._peers.remove(peer)


def _request(policy: bytes) -> bytes:
    vector = b"\x0a\x0c" + struct.pack("<3f", 1, 2, 3)
    return _field(1, policy) + _field(3, vector)


def _field(number: int, value: bytes) -> bytes:
    assert len(value) < 128
    return bytes([number << 3 | 2, len(value)]) + value


@cache
def bomb(mebibytes: int) -> bytes:
    """As gzip has it: zeros, a thousandth of their length as they travel."""
    zeros = bytes(2**20)
    press = zlib.compressobj(9, wbits=-15)
    # Flushed, so that the same bytes may stand again and again.
    piece = press.compress(zeros) + press.flush(zlib.Z_FULL_FLUSH)
    end = press.flush()
    check = 0
    for _ in range(mebibytes):
        check = zlib.crc32(zeros, check)
    length = struct.pack("<II", check, mebibytes * 2**20 % 2**32)
    return gzip.compress(b"")[:10] + piece * mebibytes + end + length


def attacks(policy: bytes) -> dict[str, Attack]:
    """By name.  What needs no policy asks for one that does not exist."""
    request = _request(policy)
    large_fields = [(b"x-%d" % n, b"v" * 1000) for n in range(64)]
    many_fields = [(b"x-%d" % n, b"v") for n in range(1000)]

    def selects(count: int) -> Callable[[Peer], bytes]:
        return lambda peer: b"".join(
            h.call(stream, _SELECT, request) for stream in peer.streams(count)
        )

    item = h.frame(h.DATA, 0, 1, h.message(_field(1, request)))

    def drop_by_drop(peer: Peer) -> bytes:
        """A byte of a sound call, which is as long as the policy's name may be."""
        if "rest" not in peer.state:
            whole = h.hello() + h.call(1, _SELECT, request)
            peer.state["rest"] = (whole[at : at + 1] for at in range(len(whole)))
        return next(peer.state["rest"], b"\0")

    def with_fields(fields: list[tuple[bytes, bytes]]) -> Callable[[Peer], bytes]:
        return lambda peer: b"".join(
            h.call(stream, _SELECT, request, more=fields) for stream in peer.streams(1)
        )

    def continued(peer: Peer) -> bytes:
        """A header block without an end."""
        piece = h.block([(b"x", b"v" * 8_000)]) * 2
        if peer.next_stream == 1:
            peer.next_stream = 3
            begin = h.block(h.request_fields(_SELECT))
            return h.frame(h.HEADERS, h.END_STREAM, 1, begin)
        return h.frame(h.CONTINUATION, 0, 1, piece)

    def resets(count: int) -> Callable[[Peer], bytes]:
        return lambda peer: b"".join(
            h.call(stream, _SELECT, request) + h.reset(stream) for stream in peer.streams(count)
        )

    def passing(peer: Peer) -> bytes:
        """Ends a connection at its first turn, so that another one takes its place."""
        peer.socket.shutdown(socket.SHUT_RDWR)
        return h.settings()

    def bombs(peer: Peer) -> bytes:
        fields = h.request_fields(_SELECT, more=[(b"grpc-encoding", b"gzip")])
        data = h.message(bomb(_BOMB_MIB), compressed=1)
        pieces = [data[at : at + h.LARGEST_FRAME] for at in range(0, len(data), h.LARGEST_FRAME)]
        (stream,) = peer.streams(1)
        return h.headers(stream, fields) + b"".join(
            h.frame(h.DATA, h.END_STREAM if piece is pieces[-1] else 0, stream, piece)
            for piece in pieces
        )

    polite = h.hello() + h.frame(h.SETTINGS, h.ACK)
    no_window = h.hello({h.INITIAL_WINDOW_SIZE: 0})
    many_calls = b"".join(h.call(2 * n + 1, _SELECT, request) for n in range(_STUCK // 3))
    stream = h.headers(1, h.request_fields(_STREAM))
    ping = h.frame(h.PING, 0, 0, b"8 bytes!")
    return {
        "nothing": Attack(0),
        "unread answers": Attack(4, h.hello(), selects(1), is_read=False),
        "no room for answers": Attack(2, no_window + many_calls, settles_s=0.5),
        "no room for a stream's answers": Attack(
            2, no_window + stream + item * _STUCK, lambda peer: item, settles_s=0.5
        ),
        "silent connections": Attack(200),
        "byte by byte": Attack(100, b"", drop_by_drop, per_tick=2),
        "idle connections": Attack(2_000, h.hello()),
        "passing connections": Attack(40, h.hello(), passing, per_tick=4),
        "large header fields": Attack(2, polite, with_fields(large_fields)),
        "many header fields": Attack(2, h.hello(), with_fields(many_fields), every=5),
        "endless header blocks": Attack(2, polite, continued, per_tick=2),
        "rapid resets": Attack(2, h.hello(), resets(10), units=10),
        "settings": Attack(2, h.hello(), lambda peer: h.settings() * 100, units=100),
        "unread settings": Attack(
            2, h.hello(), lambda peer: h.settings() * 100, is_read=False, units=100
        ),
        "compression bombs": Attack(10, h.hello(), bombs, every=100),
        "pings": Attack(2, h.hello(), lambda peer: ping * 100, units=100),
    }


def main(kind: str, port: str, policy: str) -> None:
    """Until the end of standard input."""
    attacker = Attacker(attacks(policy.encode())[kind], int(port))
    is_on, due = False, 0.0
    while True:
        wait = max(0.0, due - time.monotonic()) if is_on else None
        readable, _, _ = select.select([0], [], [], wait)
        if readable:
            orders = os.read(0, 1_000)
            if not orders:
                attacker.end()
                return
            for order in orders.split():
                is_on = order == b"on"
                if is_on:
                    attacker.begin()
                    due = time.monotonic()
                else:
                    attacker.done["open"] = attacker.open_connections
                    attacker.end()
                print(json.dumps(attacker.done), flush=True)
        elif is_on:
            attacker.tick()
            due = max(due + TICK_S, time.monotonic() - 5 * TICK_S)


if __name__ == "__main__":
    main(*sys.argv[1:])
