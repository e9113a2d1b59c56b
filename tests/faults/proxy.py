"""
A network between a process under test and Postgres that misbehaves on command.

    with Proxy(target) as proxy:
        url = proxied(database_url, proxy)
        proxy.mode = "stall"
"""

import select
import socket
import struct
import threading
import time
from contextlib import suppress
from typing import Literal, Self

from sqlalchemy import make_url

Mode = Literal["pass", "refuse", "stall", "reset"]

_CHUNK = 65_536
_TICK_S = 0.02
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close by RST instead of by a farewell


class Proxy:
    """
    Takes TCP connections on a free port of 127.0.0.1 and hands their bytes to `target` and back.

    target    a port of 127.0.0.1, or the path of a Unix socket
    mode      pass    bytes pass, each chunk after `delay_s`
              refuse  connections are closed, and new ones refused, as by a server that is down
              stall   no byte passes, and new connections hear nothing, as if packets were dropped;
                      what is under way arrives when the mode is "pass" again
              reset   connections are reset, new ones too
    delay_s   seconds; may be changed at any time

    A change of mode is complete when the assignment returns.
    """

    def __init__(self, target: int | str) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._mode: Mode = "pass"
        self._pairs: set[_Pair] = set()
        self._closing = threading.Event()
        self.delay_s = 0.0
        self._listener: socket.socket | None = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, name="proxy", daemon=True)

    @property
    def mode(self) -> Mode:
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        with self._lock:
            self._mode = mode
            if mode == "refuse":
                if self._listener is not None:
                    self._listener.close()
                    self._listener = None
            elif self._listener is None:
                self._listener = socket.create_server(("127.0.0.1", self.port))
            pairs = list(self._pairs)
        if mode in ("refuse", "reset"):
            for pair in pairs:
                pair.end(reset=mode == "reset")

    @property
    def connections(self) -> int:
        """How many are open."""
        with self._lock:
            return len(self._pairs)

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._closing.set()
        self._accepting.join()
        with self._lock:
            pairs = list(self._pairs)
            if self._listener is not None:
                self._listener.close()
        for pair in pairs:
            pair.end(reset=False)
        for pair in pairs:
            pair.join()

    def _accept(self) -> None:
        while not self._closing.is_set():
            with self._lock:
                listener, mode = self._listener, self._mode
                if listener is None or mode == "stall" or not _is_readable(listener):
                    pair = None
                else:
                    client, _ = listener.accept()
                    pair = self._paired(client, mode)
            if pair is not None:
                pair.start()
            else:
                time.sleep(_TICK_S if listener is None or mode == "stall" else _TICK_S / 10)

    def _paired(self, client: socket.socket, mode: Mode) -> "_Pair | None":
        """The two halves of a new connection; None: it is ended at once."""
        try:
            if mode == "reset":
                raise ConnectionResetError
            server = _connected(self._target)
        except OSError:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            client.close()
            return None
        pair = _Pair(self, client, server)
        self._pairs.add(pair)
        return pair

    def _ended(self, pair: "_Pair") -> None:
        with self._lock:
            self._pairs.discard(pair)


class _Pair:
    """One connection through the proxy, pumped by a thread per direction."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._over = threading.Event()
        self._pumps = [
            threading.Thread(target=self._pump, args=ends, name="proxy pump", daemon=True)
            for ends in ((client, server), (server, client))
        ]

    def start(self) -> None:
        for pump in self._pumps:
            pump.start()

    def end(self, *, reset: bool) -> None:
        """Close both halves."""
        self._over.set()
        for half in (self._client, self._server):
            with suppress(OSError):
                if reset:
                    half.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    half.close()
                else:
                    half.shutdown(socket.SHUT_RDWR)

    def join(self) -> None:
        for pump in self._pumps:
            pump.join()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError, ValueError):  # a closed socket has no number to wait for
            while not self._over.is_set():
                if self._proxy.mode == "stall":
                    self._over.wait(_TICK_S)
                    continue
                if not _is_readable(source, within_s=_TICK_S):
                    continue
                chunk = source.recv(_CHUNK)
                if not chunk:
                    break
                self._over.wait(self._proxy.delay_s)
                while self._proxy.mode == "stall" and not self._over.is_set():
                    self._over.wait(_TICK_S)
                sink.sendall(chunk)
        self.end(reset=False)
        self._proxy._ended(self)
        if not any(
            pump.is_alive() for pump in self._pumps if pump is not threading.current_thread()
        ):
            for half in (self._client, self._server):
                half.close()


def proxied(database_url: str, proxy: Proxy) -> str:
    """The same database, reached through the proxy."""
    return _moved(database_url, host="127.0.0.1", port=proxy.port)


def target_of(database_url: str) -> int | str:
    """Where the server of that URL listens, as `Proxy` takes it."""
    url = make_url(database_url)
    host, port = url.query.get("host", url.host), int(str(url.query.get("port", url.port or 5432)))
    if isinstance(host, str) and host.startswith("/"):
        return f"{host}/.s.PGSQL.{port}"
    return port


def _moved(database_url: str, *, host: str, port: int) -> str:
    url = make_url(database_url)
    query = {key: value for key, value in url.query.items() if key not in ("host", "port")}
    moved = url.set(host=host, port=port, query=query)
    return moved.render_as_string(hide_password=False)


def _connected(target: int | str) -> socket.socket:
    if isinstance(target, int):
        return socket.create_connection(("127.0.0.1", target), timeout=5)
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(5)
    made.connect(target)
    return made


def _is_readable(half: socket.socket, *, within_s: float = 0.0) -> bool:
    readable, _, _ = select.select([half], [], [], within_s)
    return bool(readable)
