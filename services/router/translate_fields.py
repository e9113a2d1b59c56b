"""Between fields of messages and plain values, with the right path in every refusal."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from bandit.domain.errors import InvalidInput

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
TOO_LATE = datetime(2201, 1, 1, tzinfo=UTC)

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_Kind = TypeVar("_Kind")


@contextmanager
def moved(old: str, new: str) -> Iterator[None]:
    """Where the domain names a field `old...`, the message at hand has it at `new...`."""
    try:
        yield
    except InvalidInput as error:
        if error.reason != InvalidInput.reason or not error.field.startswith(old):
            raise
        raise InvalidInput(new + error.field.removeprefix(old), error.problem) from None


def present(message: Any, field: str) -> Any:
    """The value of an optional field; None where it is absent."""
    return getattr(message, field) if message.HasField(field) else None


def moment(message: Any, field: str) -> datetime | None:
    """A time in UTC, of the years 1970 to 2200; None where it is absent."""
    if not message.HasField(field):
        return None
    stamp: Timestamp = getattr(message, field)
    try:
        at = stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        at = None
    if at is None or not EARLIEST <= at < TOO_LATE:
        raise InvalidInput(field, "must be from the years 1970 to 2200")
    return at


def timestamp(at: datetime) -> Timestamp:
    """A moment as a message."""
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp


def uuid_of(field: str, text: str) -> UUID:
    """The id written in a field."""
    if not _UUID.fullmatch(text):
        raise InvalidInput(field, "must be a UUID, as 8-4-4-4-12 hexadecimal digits")
    return UUID(text)


def kind_of(numbers: Mapping[_Kind, int], number: int, field: str) -> _Kind:
    """The value that an enum's number stands for."""
    for kind, its_number in numbers.items():
        if its_number == number:
            return kind
    raise InvalidInput(field, f"{number} is not one of its values")
