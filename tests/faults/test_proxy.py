"""The network that misbehaves does so as it is told; against a server that echoes."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults.proxy import Proxy


@pytest.fixture
def echo() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer(client: socket.socket) -> None:
            with client:
                try:
                    while heard := client.recv(1000):
                        client.sendall(heard)
                except OSError:
                    return

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=[client], daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(echo: int) -> Iterator[Proxy]:
    with Proxy(echo) as made:
        yield made


def connected(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=0.3)


def test_bytes_pass_in_order_and_late_if_told_so(proxy: Proxy) -> None:
    with connected(proxy) as client:
        client.settimeout(5)
        client.sendall(b"one")
        assert client.recv(100) == b"one"

        proxy.delay_s = 0.1
        started = time.monotonic()
        client.sendall(b"two")

        assert client.recv(100) == b"two"
        assert time.monotonic() - started >= 0.2  # there and back


def test_a_stall_withholds_bytes_and_lets_them_go_at_its_end(proxy: Proxy) -> None:
    with connected(proxy) as client:
        client.sendall(b"one")
        assert client.recv(100) == b"one"
        proxy.mode = "stall"
        client.sendall(b"two")
        with connected(proxy) as late:
            late.sendall(b"three")
            for silent in (client, late):
                with pytest.raises(TimeoutError):
                    silent.recv(100)

            proxy.mode = "pass"

            client.settimeout(5)
            late.settimeout(5)
            assert client.recv(100) == b"two"
            assert late.recv(100) == b"three"


def test_refusing_ends_connections_and_refuses_new_ones_until_it_is_over(proxy: Proxy) -> None:
    with connected(proxy) as client:
        client.sendall(b"one")
        assert client.recv(100) == b"one"

        proxy.mode = "refuse"

        assert client.recv(100) == b""
    with pytest.raises(ConnectionRefusedError):
        connected(proxy)
    proxy.mode = "pass"
    with connected(proxy) as again:
        again.settimeout(5)
        again.sendall(b"two")
        assert again.recv(100) == b"two"


def test_resetting_resets_old_and_new_connections(proxy: Proxy) -> None:
    with connected(proxy) as client:
        client.sendall(b"one")
        assert client.recv(100) == b"one"

        proxy.mode = "reset"

        client.settimeout(5)
        with pytest.raises(ConnectionResetError):
            client.recv(100)
    with connected(proxy) as late:
        late.settimeout(5)
        with pytest.raises(ConnectionResetError):
            late.recv(100)
