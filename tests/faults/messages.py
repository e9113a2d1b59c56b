"""Messages that nobody would send, made from the descriptors of those that somebody would."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from bandit.wire import catalog_pb2, feedback_pb2, learning_pb2, router_pb2

# Values that make sense in a field, by "Message.field" or "field"; of a map, its keys.
Known = Mapping[str, Sequence[Any]]

LONE_SURROGATE = b"\xed\xa0\x80"  # what no text may hold
_STAND_IN = "\ue000"  # as many bytes in UTF-8
_LARGEST_VALUE = 70_000  # characters or items, but for the few that are meant to be too much

_FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-320, 1e308, -1e308, math.nan, math.inf, -math.inf)
_INTEGERS = (0, 1, -1, 2, 200, 2**31 - 1, -(2**31), 2**40 + 1, 2**53, 2**63 - 1, -(2**63))
_UNITS = (
    "x",
    "é",
    "\u202e",
    "\u0627",
    "\U0001d535",
    "\0",
    "\n",
    "%s",
    "'; --",
    "\ufffe",
    _STAND_IN,
)
_LENGTHS = (1, 2, 32, 200, 201, 257, 8_193, _LARGEST_VALUE)
_SIZES = (0, 1, 1, 2, 3, 33, 65, 257)
_MANY = 1_025

_INTEGER_BITS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (-(2**31), 2**31 - 1),
}


@dataclass(frozen=True, slots=True)
class Method:
    """
    A method that takes one message and answers with one.

    path      as HTTP/2 has it
    request   the class of its messages
    response  the class of its answers
    """

    name: str
    path: str
    request: type[Message]
    response: type[Message]


def unary_methods() -> list[Method]:
    """Those of all services."""
    files = (router_pb2, feedback_pb2, catalog_pb2, learning_pb2)
    return [
        _method(method)
        for file in files
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if not method.client_streaming
    ]


def _method(method: MethodDescriptor) -> Method:
    return Method(
        method.name,
        f"/{method.containing_service.full_name}/{method.name}",
        GetMessageClass(method.input_type),
        GetMessageClass(method.output_type),
    )


def wire(message: Message) -> bytes:
    """A message as it travels, with surrogates where they were meant."""
    return message.SerializeToString().replace(_STAND_IN.encode(), LONE_SURROGATE)


class Drawing:
    """
    Draws messages whose fields are there or not, sensible or not.

    draw     takes a strategy and gives a value, as Hypothesis gives it to a composite
    known    values that get past the first check
    madness  share of the known fields that get any value, and of the others that get one
    """

    def __init__(self, draw: Callable[[Any], Any], known: Known, *, madness: float) -> None:
        self._draw = draw
        self._known = known
        self._madness = madness

    def message(self, kind: type[Message]) -> Message:
        """One of this class."""
        made = kind()
        for field in made.DESCRIPTOR.fields:
            if self._values_for(field) or self._is(self._madness):
                self._fill(made, field)
        return made

    def _values_for(self, field: FieldDescriptor) -> Sequence[Any]:
        """Empty: none are known."""
        assert field.containing_type is not None
        full = f"{field.containing_type.name}.{field.name}"
        return self._known.get(full) or self._known.get(field.name, ())

    def _fill(self, message: Message, field: FieldDescriptor) -> None:
        choice = field.containing_oneof
        if choice is not None and message.WhichOneof(choice.name) and not self._is(0.1):
            return
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        known = self._values_for(field)
        if known and not is_map and not self._is(self._madness):
            value = self._draw(st.sampled_from(known))
            if field.is_repeated:
                getattr(message, field.name).extend(value)
            elif isinstance(value, Message):
                getattr(message, field.name).CopyFrom(value)
            else:
                setattr(message, field.name, value)
        elif is_map:
            self._fill_map(getattr(message, field.name), field)
        elif field.is_repeated:
            self._fill_list(getattr(message, field.name), field)
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(self.message(GetMessageClass(field.message_type)))
        else:
            setattr(message, field.name, self._draw(_scalars(field)))

    def _fill_list(self, values: Any, field: FieldDescriptor) -> None:
        size = self._size()
        if not size:
            return
        # A few are drawn, and those come again and again.
        if field.message_type is None:
            drawn = [self._draw(_scalars(field)) for _ in range(min(size, 3))]
        else:
            kind = GetMessageClass(field.message_type)
            drawn = [self.message(kind) for _ in range(min(size, 2))]
        most = max(1, sum(each.ByteSize() if isinstance(each, Message) else 100 for each in drawn))
        size = min(size, max(2, 1_000_000 * len(drawn) // most))
        values.extend(drawn[at % len(drawn)] for at in range(size))

    def _fill_map(self, entries: Any, field: FieldDescriptor) -> None:
        assert field.message_type is not None
        value = field.message_type.fields_by_name["value"]
        keys = self._values_for(field) or ("",)
        size = self._size()
        for at in range(size):
            if at == 0 and self._is(0.5):
                key = self._draw(st.sampled_from(keys))
            elif at == 0:
                key = self._draw(_strings())
            else:
                key = f"key {at}"
            if value.message_type is not None:
                kind = GetMessageClass(value.message_type)
                entries[key].CopyFrom(self.message(kind) if at < 2 else kind())
            elif at < 3:
                entries[key] = self._draw(_scalars(value))
            else:
                entries[key] = entries["key 1"]

    def _size(self) -> int:
        return _MANY if self._is(0.01) else self._draw(st.sampled_from(_SIZES))

    def _is(self, share: float) -> bool:
        return self._draw(st.integers(0, 99)) < 100 * share


@st.composite
def damaged(draw: Callable[[Any], Any], whole: bytes) -> bytes:
    """The same bytes, with some flipped, cut out or put in."""
    harmed = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(harmed)))
        match draw(st.sampled_from(("flip", "cut", "insert", "end"))):
            case "flip" if at < len(harmed):
                harmed[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del harmed[at : at + draw(st.integers(1, 9))]
            case "insert":
                harmed[at:at] = draw(st.binary(min_size=1, max_size=9))
            case "end":
                del harmed[at:]
    return bytes(harmed)


def strange_tails() -> st.SearchStrategy[bytes]:
    """What may follow a message: nothing, fields that it does not have, and worse."""
    number = 15_000
    unknown = [_tag(number, 0) + b"\x01", _tag(number, 2) + b"\x03abc", _tag(number, 5) + b"\0" * 4]
    nested = b"\x0a\x00"
    for _ in range(200):
        nested = _tag(number, 2) + _varint(len(nested)) + nested
    return st.sampled_from(
        [
            *[b""] * 12,
            *unknown,
            b"".join(unknown) * 1_000,
            nested,
            _tag(number, 3) * 10_000 + _tag(number, 4) * 10_000,  # groups within groups
            _tag(number, 3) * 50 + _tag(number, 4) * 50,
            _tag(number, 2) + _varint(2**31) + b"short",
            _tag(1, 2) + _varint(3) + LONE_SURROGATE,
            b"\xff" * 11,
            b"\0",
        ]
    )


@cache
def _scalars(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    kind = field.cpp_type
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=300)
    if kind == FieldDescriptor.CPPTYPE_STRING:
        return _strings()
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        width = 32 if kind == FieldDescriptor.CPPTYPE_FLOAT else 64
        return st.sampled_from(_FLOATS) | st.floats(width=width) | st.floats(0, 1, width=width)
    least, most = _INTEGER_BITS[kind]
    special = st.sampled_from([number for number in _INTEGERS if least <= number <= most])
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        special |= st.integers(0, 6)
    return special | st.integers(least, most)


@cache
def _strings() -> st.SearchStrategy[str]:
    long = st.builds(
        lambda unit, length: unit * length, st.sampled_from(_UNITS), st.sampled_from(_LENGTHS)
    )
    text = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
    return st.just("") | text | st.builds(lambda a, b: a + b, text, long)


def _tag(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number % 128 + 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
