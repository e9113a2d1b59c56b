"""A call as large as one likes, by hand, within the windows that the other side gives."""

import re
import socket
import time
from collections.abc import Iterable
from contextlib import suppress

from tests.faults import http2 as h

_STEP_S = 0.2


def answer_to(
    port: int,
    path: bytes,
    pieces: Iterable[bytes],
    *,
    more: h.Pairs = (),
    within_s: float = 30.0,
) -> tuple[int | None, int]:
    """
    gRPC's status number for a call whose bytes are these, and how many of them were sent.

    None: the stream was reset, or the connection closed, without one.
    Raises TimeoutError.
    """
    end = time.monotonic() + within_s
    received = h.Received()
    sent = 0
    with (
        socket.create_connection(("127.0.0.1", port), timeout=within_s) as peer,
        suppress(ConnectionError),
    ):
        peer.sendall(h.hello() + h.headers(1, h.request_fields(path, more=more)))
        peer.settimeout(_STEP_S)
        answer = b""
        whole = iter(pieces)
        waiting: bytes | None = b""
        while 1 not in received.ended:
            if time.monotonic() > end:
                raise TimeoutError
            room = min(
                received.window - sent,
                received.stream_window + received.streams.get(1, 0) - sent,
                h.LARGEST_FRAME,
            )
            if waiting is not None and room > 0:
                if not waiting:
                    waiting = next(whole, None)
                    if waiting is None:
                        peer.sendall(h.frame(h.DATA, h.END_STREAM, 1))
                        continue
                piece, waiting = waiting[:room], waiting[room:]
                peer.sendall(h.frame(h.DATA, 0, 1, piece))
                sent += len(piece)
                peer.setblocking(False)
            else:
                peer.settimeout(_STEP_S)
            try:
                data = peer.recv(65_536)
            except (BlockingIOError, TimeoutError):
                continue
            finally:
                peer.settimeout(within_s)
            if not data:
                break
            for kind, _, _, payload in received.take(data):
                if kind == h.HEADERS:
                    answer += payload
        # Its encoder neither compresses the value nor, on a new connection, knows the name.
        found = re.search(rb"grpc-status(.)(\d+)", answer)
        return (None if found is None else int(found[2])), sent
    return None, sent
