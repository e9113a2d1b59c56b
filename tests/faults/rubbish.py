"""What comes to an open port besides calls: other protocols, broken frames, broken calls."""

import gzip
import struct
from collections.abc import Callable, Mapping
from random import Random

from tests.faults import http2 as h
from tests.faults.http2 import frame, hello

SELECT = b"/bandit.router.v1.Router/Select"
_REQUEST = b"\x0a\x06nobody\x1a\x0e\x0a\x0c" + struct.pack("<3f", 1, 2, 3)  # of no policy there is

Rubbish = Callable[[Random], bytes]


def _session(*after: bytes) -> Rubbish:
    """A sound beginning, then one of these."""
    return lambda random: hello() + random.choice(after)


def _of_stream(*fields: tuple[bytes, bytes], without: bytes = b"") -> bytes:
    """A call with other header fields, or without one of them."""
    given = dict(h.request_fields(SELECT)) | dict(fields)
    given.pop(without, None)
    whole = h.message(_REQUEST)
    return h.headers(1, given.items()) + frame(h.DATA, h.END_STREAM, 1, whole)


def _framed(data: bytes, *, flags: int = h.END_STREAM, **more: bytes) -> bytes:
    """A call with these bytes in place of a message."""
    pairs = [(name.replace("_", "-").encode(), value) for name, value in more.items()]
    return h.headers(1, h.request_fields(SELECT, more=pairs)) + frame(h.DATA, flags, 1, data)


def _header_block(encoded: bytes) -> bytes:
    return frame(h.HEADERS, h.END_HEADERS | h.END_STREAM, 1, encoded)


def _damaged(random: Random) -> bytes:
    whole = bytearray(
        hello() + h.call(1, SELECT, _REQUEST) + h.reset(1) + frame(h.PING, 0, 0, b"8" * 8)
    )
    for _ in range(random.randint(1, 5)):
        at = random.randrange(len(whole))
        match random.randrange(3):
            case 0:
                whole[at] ^= 1 << random.randrange(8)
            case 1:
                del whole[at : at + random.randint(1, 9)]
            case _:
                whole[at:at] = random.randbytes(random.randint(1, 9))
    return bytes(whole)


KINDS: Mapping[str, Rubbish] = {
    "random bytes": lambda random: random.randbytes(random.choice((1, 24, 300, 70_000))),
    "random frames": lambda random: hello() + random.randbytes(random.choice((9, 300, 20_000))),
    "other protocols": lambda random: random.choice(
        (
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"POST /bandit.router.v1.Router/Select HTTP/1.1\r\nContent-Length: 999999\r\n\r\nabc",
            b"GET / HTTP/1.1\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 512,  # TLS
            b"SSH-2.0-OpenSSH_9.6\r\n",
            b"\0\0\0\x08\x04\xd2\x16\x2f",  # Postgres
        )
    ),
    "broken prefaces": lambda random: random.choice(
        (
            h.PREFACE[:-1],
            h.PREFACE[: random.randrange(24)],
            h.PREFACE.lower() + h.settings(),
            h.PREFACE + h.PREFACE,
            h.PREFACE + frame(h.PING, 0, 0, b"8" * 8),
            h.PREFACE + h.call(1, SELECT, _REQUEST),
        )
    ),
    "broken settings": _session(
        frame(h.SETTINGS, payload=b"12345"),
        frame(h.SETTINGS, h.ACK, 0, b"\0" * 6),
        frame(h.SETTINGS, 0, 1, b"\0" * 6),
        h.settings({h.INITIAL_WINDOW_SIZE: 2**32 - 1}),
        h.settings({5: 1}),
        h.settings({5: 2**24 - 1, 6: 0, 1: 0}),
        h.settings({3: 0}),
        h.settings(dict.fromkeys(range(7, 400), 2**32 - 1)),
        h.settings({1: 2**32 - 1}) + h.call(1, SELECT, _REQUEST),
    ),
    "broken frames": _session(
        frame(h.PING, 0, 0, b"7" * 7),
        frame(h.PING, 0, 1, b"8" * 8),
        frame(h.WINDOW_UPDATE, 0, 0, b"\0" * 4),
        frame(h.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 3,
        frame(h.WINDOW_UPDATE, 0, 7, b"\x7f\xff\xff\xff"),
        frame(h.DATA, 0, 1, b"idle"),
        frame(h.DATA, 0, 0, b"none"),
        frame(h.DATA, 8, 1, b"\xff"),
        frame(h.RST_STREAM, 0, 1, b"\0" * 4),
        frame(h.RST_STREAM, 0, 0, b"\0" * 4),
        frame(h.RST_STREAM, 0, 1, b"\0" * 3),
        frame(h.CONTINUATION, h.END_HEADERS, 1, b"\x88"),
        frame(h.PUSH_PROMISE, h.END_HEADERS, 1, b"\0\0\0\x02\x88"),
        frame(h.PRIORITY, 0, 1, b"\0\0\0\x01\x10"),
        frame(h.PRIORITY, 0, 1, b"\0"),
        frame(h.GOAWAY, 0, 0, b"\0" * 7),
        frame(h.GOAWAY, 0, 0, b"\0" * 8),
        frame(200, 0xFF, 2**31 - 1, b"what"),
        frame(h.HEADERS, h.END_HEADERS, 2, b"\x88"),
        frame(h.HEADERS, h.END_HEADERS, 0, b"\x88"),
        frame(h.HEADERS, h.END_HEADERS | 8, 1, b"\xff\x88"),
        frame(h.HEADERS, 0, 1, b"\x88") + frame(h.DATA, 0, 1, b"between"),
        b"\xff\xff\xff\0\0\0\0\0\x01",
        b"\0\0\x09\x06\0\0\0\0\0" + b"9" * 9,
        h.call(5, SELECT, _REQUEST) + h.call(3, SELECT, _REQUEST),
        h.call(1, SELECT, _REQUEST) + h.call(1, SELECT, _REQUEST),
    ),
    "broken header blocks": _session(
        _header_block(b"\x80"),
        _header_block(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
        _header_block(b"\x3f\xe1\xff\xff\xff\x0f"),
        _header_block(b"\x00\x7f\xff"),
        _header_block(b"\x00\x83\xff\xff\xff\x83\xff\xff\xff"),
        _header_block(b"\x00\x05abc"),
        _header_block(b""),
        _header_block(h.block([(b"", b"")])),
        _header_block(h.block([(b"UPPER", b"case"), (b"a\0b", b"c\r\nd: e")])),
        _header_block(h.block([(b":status", b"200"), (b":nonsense", b"1")])),
        _header_block(h.block(h.request_fields(SELECT) * 2)),
        _header_block(h.block([*h.request_fields(SELECT), (b":path", b"/late")])),
    ),
    "wrong lengths": _session(
        _framed(h.message(_REQUEST, length=len(_REQUEST) + 1)),
        _framed(h.message(_REQUEST, length=len(_REQUEST) - 1)),
        _framed(h.message(_REQUEST, length=2**32 - 1)),
        _framed(h.message(_REQUEST, length=2**31), flags=0),
        _framed(h.message(b"") * 50),
        _framed(h.message(_REQUEST)[:3]),
        _framed(b""),
        _framed(h.message(_REQUEST) * 2),
        _framed(h.message(_REQUEST), content_length=b"1"),
    ),
    "broken compression": _session(
        _framed(h.message(_REQUEST, compressed=1)),
        *(_framed(h.message(_REQUEST, compressed=flag)) for flag in (2, 128, 255)),
        *(
            _framed(h.message(b"no gzip", compressed=1), grpc_encoding=name)
            for name in (b"gzip", b"deflate", b"snappy", b"identity", b"", b"\xff")
        ),
        _framed(h.message(gzip.compress(_REQUEST)[:-4], compressed=1), grpc_encoding=b"gzip"),
        _framed(h.message(_REQUEST), grpc_encoding=b"gzip"),
    ),
    "wrong header fields": _session(
        *(
            _of_stream((b"content-type", kind))
            for kind in (b"application/json", b"application/grpc+json", b"text/html", b"", b"\xff")
        ),
        *(_of_stream((b":method", method)) for method in (b"GET", b"PUT", b"BREW", b"", b"\xff")),
        *(
            _of_stream(without=name)
            for name in (b":path", b":method", b":scheme", b":authority", b"te", b"content-type")
        ),
        *(
            _of_stream((b"grpc-timeout", timeout))
            for timeout in (
                b"",
                b"x",
                b"0n",
                b"1n",
                b"-1S",
                b"99999999H",
                b"999999999999H",
                b"1\xff",
            )
        ),
        _of_stream((b"x-bin", b"!!! no base64 !!!")),
        _of_stream((b"x-bin", b"")),
        _of_stream((b"x", b"\xff\xfe")),
        _of_stream((b"bandit-source", b"\xc3\x28")),
        _of_stream((b"bandit-source", b"x" * 4_000)),
        *(
            _of_stream((name, value))
            for name in (b"x-request-id", b"traceparent", b"tracestate", b"authorization")
            for value in (b"", b"\xff\xfe", b"a\xc3\xa9", b"x" * 4_000, b"Bearer ", b"Bearer \xff")
        ),
        _of_stream((b"grpc-trace-bin", b"AAAA"), (b"grpc-tags-bin", b"\xff")),
        _of_stream((b"host", b"elsewhere"), (b"connection", b"close")),
        _of_stream((b"user-agent", b"\x80" * 100)),
        _of_stream((b":authority", b"\xff")),
    ),
    "unknown methods": _session(
        *(
            h.call(1, path, _REQUEST)
            for path in (
                b"/",
                b"",
                b"*",
                b"Select",
                b"//",
                b"/bandit.router.v1.Router",
                b"/bandit.router.v1.Router/",
                b"/bandit.router.v1.Router/select",
                b"/bandit.router.v1.Router/Select/",
                b"/bandit.router.v1.Nobody/Select",
                SELECT + b"?x=1",
                b"/%2e%2e/%00",
                b"/" + b"x" * 7_000,
                b"/a\0b",
                "/bändit/Sélect".encode(),
            )
        ),
    ),
    "paths that are no text": _session(
        *(h.call(1, path, _REQUEST) for path in (b"/\xff\xfe", b"\x80", b"/bandit\xc3/Select")),
        b"".join(h.call(2 * n + 1, b"/\xff" + bytes([n + 128]), _REQUEST) for n in range(50)),
    ),
    "calls that are damaged": _damaged,
}
