"""HTTP/2 by hand, so that it can be got wrong.  Standard library only."""

import struct
from collections.abc import Iterable, Sequence

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEAD = 9
LARGEST_FRAME = 16_384

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4

INITIAL_WINDOW_SIZE = 4  # a setting
FIRST_WINDOW = 65_535  # what either side may send before it is told otherwise
CANCEL = 8  # an error code

Pairs = Iterable[tuple[bytes, bytes]]


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """One frame, whether or not it makes sense."""
    length = len(payload)
    return struct.pack(">BHBBI", length >> 16, length & 0xFFFF, kind, flags, stream) + payload


def settings(values: dict[int, int] | None = None) -> bytes:
    """A SETTINGS frame."""
    payload = b"".join(struct.pack(">HI", *item) for item in (values or {}).items())
    return frame(SETTINGS, payload=payload)


def hello(values: dict[int, int] | None = None) -> bytes:
    """How a client begins."""
    return PREFACE + settings(values)


def block(pairs: Pairs) -> bytes:
    """A header block: every field as it stands, in no table and without Huffman's code."""
    return b"".join(b"\0" + _string(name) + _string(value) for name, value in pairs)


def request_fields(
    path: bytes,
    *,
    content_type: bytes = b"application/grpc",
    more: Pairs = (),
) -> list[tuple[bytes, bytes]]:
    """The header fields of a call."""
    return [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"localhost"),
        (b"te", b"trailers"),
        (b"content-type", content_type),
        *more,
    ]


def headers(stream: int, pairs: Pairs, *, flags: int = END_HEADERS) -> bytes:
    """Header fields, in as many frames as they need."""
    whole = block(pairs)
    pieces = [whole[at : at + LARGEST_FRAME] for at in range(0, len(whole), LARGEST_FRAME)] or [b""]
    kinds = [HEADERS, *[CONTINUATION] * (len(pieces) - 1)]
    last = len(pieces) - 1
    return b"".join(
        frame(
            kind,
            (flags if at == last else 0) | (flags & END_STREAM if kind == HEADERS else 0),
            stream,
            piece,
        )
        for at, (kind, piece) in enumerate(zip(kinds, pieces, strict=True))
    )


def message(payload: bytes, *, compressed: int = 0, length: int | None = None) -> bytes:
    """A message as gRPC frames it; `length` is what it says of itself."""
    return struct.pack(">BI", compressed, len(payload) if length is None else length) + payload


def call(stream: int, path: bytes, payload: bytes, *, more: Pairs = ()) -> bytes:
    """A whole unary call with a message that fits into one frame."""
    return headers(stream, request_fields(path, more=more)) + frame(
        DATA, END_STREAM, stream, message(payload)
    )


def reset(stream: int) -> bytes:
    """The end of a stream, at once."""
    return frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL))


class Received:
    """
    What the other side sent, frame by frame.

    window          what may be sent on the connection
    stream_window   what a new stream may be sent at first
    """

    def __init__(self) -> None:
        self.window = FIRST_WINDOW
        self.stream_window = FIRST_WINDOW
        self.streams: dict[int, int] = {}
        self.ended: set[int] = set()
        self._rest = b""

    def take(self, received: bytes) -> Sequence[tuple[int, int, int, bytes]]:
        """The frames (kind, flags, stream, payload) that are whole now."""
        self._rest += received
        found = []
        while len(self._rest) >= FRAME_HEAD:
            high, low, kind, flags, stream = struct.unpack(">BHBBI", self._rest[:FRAME_HEAD])
            end = FRAME_HEAD + (high << 16 | low)
            if len(self._rest) < end:
                break
            payload, self._rest = self._rest[FRAME_HEAD:end], self._rest[end:]
            self._note(kind, flags, stream, payload)
            found.append((kind, flags, stream, payload))
        return found

    def _note(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == WINDOW_UPDATE:
            (more,) = struct.unpack(">I", payload)
            if stream == 0:
                self.window += more
            else:
                self.streams[stream] = self.streams.get(stream, 0) + more
        elif kind == SETTINGS and not flags & ACK:
            for at in range(0, len(payload), 6):
                name, value = struct.unpack(">HI", payload[at : at + 6])
                if name == INITIAL_WINDOW_SIZE:
                    self.stream_window = value
        elif kind == RST_STREAM or (kind in (DATA, HEADERS) and flags & END_STREAM):
            self.ended.add(stream)


def _string(text: bytes) -> bytes:
    return _integer(len(text), bits=7) + text


def _integer(number: int, *, bits: int) -> bytes:
    """RFC 7541, 5.1."""
    most = 2**bits - 1
    if number < most:
        return bytes([number])
    encoded, number = bytearray([most]), number - most
    while number >= 128:
        encoded.append(number % 128 + 128)
        number //= 128
    encoded.append(number)
    return bytes(encoded)
