"""What commands print: tables for people, JSON for machines."""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum, IntEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table


@cache
def console() -> "Console":
    """Standard output, in colours where it is a terminal; as wide as it takes where it is not."""
    from rich.console import Console

    is_terminal = sys.stdout.isatty()
    return Console(highlight=False, width=None if is_terminal else 200, soft_wrap=not is_terminal)


def show(renderable: "RenderableType") -> None:
    """Print something for a person."""
    console().print(renderable)


def show_note(text: str) -> None:
    """Tell a person something besides the result."""
    sys.stderr.write(text + "\n")


def show_json(value: object) -> None:
    """Print a value for a machine, on one line."""
    sys.stdout.write(json.dumps(plain(value), allow_nan=False) + "\n")
    sys.stdout.flush()


def table(title: str, columns: Iterable[str], *, numbers: Iterable[str] = ()) -> "Table":
    """An empty table; the columns in `numbers` are aligned to the right."""
    from rich import box
    from rich.table import Table

    right = set(numbers)
    made = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    return made


def escaped(text: object) -> str:
    """A caller's text, in which square brackets are not markup."""
    from rich.markup import escape

    return escape(str(text))


def plain(value: object) -> Any:
    """A result as JSON has it: dataclasses as objects, times in ISO 8601, kinds by their names."""
    if is_dataclass(value) and not isinstance(value, type):
        shown = [field.name for field in fields(value) if field.repr]
        return {name: plain(getattr(value, name)) for name in shown}
    if isinstance(value, IntEnum):
        return value.name.lower()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID | Path):
        return str(value)
    return value


def amount(value: float | None, *, digits: int = 4) -> str:
    """A number with that many digits that matter; a dash for none."""
    return "-" if value is None else f"{value:.{digits}g}"


def with_deviation(mean: float, deviation: float) -> str:
    """A mean and its standard deviation."""
    return f"{amount(mean)} ± {amount(deviation, digits=2)}"
