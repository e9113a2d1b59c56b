"""SQL for many rows at once: one array per column, unnested by the server."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from sqlalchemy import Column, Table
from sqlalchemy.dialects import postgresql

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


def column_list(table: Table, alias: str | None = None) -> sql.Composable:
    """The table's columns in their order, as `decision_from` takes them."""
    names = [sql.Identifier(*([alias] if alias else []), column.name) for column in table.columns]
    return sql.SQL(", ").join(names)


def rows(alias: str, columns: Sequence[Column[Any]], *, prefix: str = "") -> sql.Composable:
    """
    `unnest(%b::uuid[], ...) as alias (columns)`: parameters are the columns of the rows.

    Arrays go as binary: for ids, moments and bytes that is shorter, and quicker to write and read.
    """
    arrays = [sql.SQL("%b::{}[]").format(sql.SQL(_type_of(column))) for column in columns]
    names = [sql.Identifier(prefix + column.name) for column in columns]
    return sql.SQL("unnest({}) as {} ({})").format(
        sql.SQL(", ").join(arrays), sql.Identifier(alias), sql.SQL(", ").join(names)
    )


def rows_as(name: str, columns: Sequence[Column[Any]]) -> sql.Composable:
    """`name (columns) as (select * from unnest(%b::uuid[], ...))`, for a `with`."""
    names = [sql.Identifier(column.name) for column in columns]
    return sql.SQL("{} ({}) as (select * from {})").format(
        sql.Identifier(name), sql.SQL(", ").join(names), rows("given", columns)
    )


def columns_of(rows_: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    """The rows' values column by column, also where there is no row."""
    return [[row[position] for row in rows_] for position in range(width)]


def array_types(columns: Sequence[Column[Any]]) -> list[str]:
    """The types of the columns as `arrays.array` takes them."""
    return [_type_of(column) for column in columns]


@dataclass(frozen=True, slots=True)
class Prepared:
    """
    A statement with numbered parameters.

    name   unique among all, under which its plan is kept; empty: it is planned anew each time, as
           a join needs whose best plan is another one when the tables have grown
    """

    name: bytes
    text: bytes


def prepared(statement: sql.Composable, *, name: str = "") -> Prepared:
    """The statement with `$1`, `$2` ... for each `%b`."""
    first, *others = statement.as_string(None).split("%b")
    text = first + "".join(f"${number}{text}" for number, text in enumerate(others, start=1))
    return Prepared(name.encode(), text.encode())


def _type_of(column: Column[Any]) -> str:
    return str(column.type.compile(_DIALECT))
